# How each third-party library is compiled: by hand, one compiler call per file, no foreign build system (musl excepted).
#
#   NAME_src      sources below build/src/NAME, shell patterns; a path that starts with vendor/ is our own
#   NAME_flags    defines and include paths
#   NAME_flags_F  extra flags for the one file F
#   NAME_headers  shell commands that put the public headers into $$inc (build/include); $$src is build/src/NAME
#
# Changes to foreign code come from -D, -include, or Debian's own patches only.

VENDOR_LIBS := nanopb mbedtls nghttp2 zlib zstd yyjson inih cmocka

# Callers see the same macros as the library: they change structures and signatures.
PB_DEFS  := -DPB_ENABLE_MALLOC -DPB_FIELD_32BIT -DPB_VALIDATE_UTF8
INI_DEFS := -DINI_HANDLER_LINENO=1 -DINI_CALL_HANDLER_ON_NEW_SECTION=1 -DINI_USE_STACK=0 -DINI_ALLOW_REALLOC=1 \
            -DINI_INITIAL_ALLOC=512 -DINI_MAX_LINE=65536 -DINI_INLINE_COMMENT_PREFIXES='"\#;"'

# nanopb allocates from the arena of core/base/pb.c, never from malloc.
PB_ALLOC := -include core/base/pb_arena.h -Dpb_realloc=cor_pb_realloc -Dpb_free=cor_pb_free

nanopb_src     := pb_common.c pb_decode.c pb_encode.c
nanopb_flags   := -I. -Ibuild/src/nanopb $(PB_DEFS) $(PB_ALLOC)
nanopb_headers := cp $$src/pb.h $$src/pb_common.h $$src/pb_decode.h $$src/pb_encode.h $$inc/

# The misspelt macro is upstream's: its unaligned fast path is wrong under optimisation. Only aesni.c may use AES
# instructions; the library asks cpuid before it calls it.
mbedtls_src           := library/*.c
mbedtls_flags         := -Ibuild/src/mbedtls/library -DMBEDTLS_ALIGNMENT_DISABLE_EFFICENT_UNALIGNED_ACCESS
mbedtls_flags_aesni.c := $(if $(filter x86_64,$(ARCH)),-maes -mpclmul)
mbedtls_headers       := cp -r $$src/include/mbedtls $$src/include/psa $$inc/ && \
                         cp vendor/mbedtls_config.h $$inc/mbedtls/mbedtls_config.h

nghttp2_src     := lib/*.c
nghttp2_flags   := -Ibuild/src/nghttp2/lib -DNGHTTP2_STATICLIB -DHAVE_ARPA_INET_H -DHAVE_NETINET_IN_H \
                   -DHAVE_CLOCK_GETTIME -DHAVE_TIME_H
nghttp2_headers := mkdir -p $$inc/nghttp2 && cp $$src/lib/includes/nghttp2/nghttp2.h $$inc/nghttp2/ && \
                   sed -e s/@PACKAGE_VERSION@/1.52.0/ -e s/@PACKAGE_VERSION_NUM@/0x013400/ \
                       $$src/lib/includes/nghttp2/nghttp2ver.h.in >$$inc/nghttp2/nghttp2ver.h

zlib_src     := adler32.c crc32.c deflate.c inffast.c inflate.c inftrees.c trees.c zutil.c
zlib_flags   := -DHAVE_UNISTD_H -DHAVE_HIDDEN
zlib_headers := cp $$src/zlib.h $$src/zconf.h $$inc/

zstd_src     := $(addprefix lib/common/,debug.c entropy_common.c error_private.c fse_decompress.c xxhash.c zstd_common.c) \
                lib/decompress/*.c $(if $(filter x86_64,$(ARCH)),lib/decompress/huf_decompress_amd64.S)
zstd_flags   := -DZSTD_LEGACY_SUPPORT=0
zstd_headers := cp $$src/lib/zstd.h $$src/lib/zstd_errors.h $$inc/

# Fast floating point stays: without it doubles are printed with 17 digits.
yyjson_src     := src/yyjson.c
yyjson_flags   := -DYYJSON_DISABLE_NON_STANDARD=1
yyjson_headers := cp $$src/src/yyjson.h $$inc/

inih_src     := ini.c
inih_flags   := $(INI_DEFS)
inih_headers := cp $$src/ini.h $$inc/

cmocka_src     := src/cmocka.c
cmocka_flags   := -DHAVE_CONFIG_H -Ibuild/src/cmocka -Ibuild/src/cmocka/include
cmocka_headers := cp $$src/include/cmocka.h $$inc/ && cp vendor/cmocka_config.h $$src/config.h

# Only inflate, only where its assembly exists; NO_STATIC_INFLATE_H cuts the dependency on the deflate tables, once the compiler
# has dropped the dead code that still names them, which instrumented code never is.
ifeq ($(ARCH),x86_64)
VENDOR_LIBS  += isal
isal_src     := igzip/igzip_inflate.c igzip/igzip_inflate_multibinary.asm igzip/igzip_decode_block_stateless_01.asm \
                igzip/igzip_decode_block_stateless_04.asm igzip/rfc1951_lookup.asm crc/crc32_gzip_refl_by8.asm \
                vendor/isal_shim.c
isal_flags   := -DNO_STATIC_INFLATE_H -Ibuild/src/isal/include -Ibuild/src/isal/igzip $(if $(findstring -fsanitize,$(FLAGS_$(VARIANT))),-fno-sanitize=all)
isal_nasm    := -f elf64 -Ibuild/src/isal/include/ -Ibuild/src/isal/igzip/ -Ibuild/src/isal/crc/
isal_headers := mkdir -p $$inc/isa-l && cp $$src/include/igzip_lib.h $$inc/isa-l/
VENDOR_DEFS  := -DHAVE_IGZIP=1
else
VENDOR_DEFS  := -DHAVE_IGZIP=0
endif
