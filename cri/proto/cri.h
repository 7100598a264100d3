/* cri/proto/cri.h
 *
 * The CRI messages. Include this, not cri.pb.h: some of them have fields named stdin, stdout and
 * stderr, which C libraries make macros of (the objects of these names stay usable).
 */
#ifndef CORACLE_CRI_PROTO_CRI_H
#define CORACLE_CRI_PROTO_CRI_H

#include <stdio.h>

#undef stdin
#undef stdout
#undef stderr

#include "cri/proto/cri.pb.h" /* IWYU pragma: export */

#endif
