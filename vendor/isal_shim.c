/* vendor/isal_shim.c
 *
 * ISA-L's inflate without the rest of ISA-L: what its decoder calls and the files we compile do not define.
 * The CRC kernel needs PCLMULQDQ and SSE4.1; core/image asks cpuid before it chooses this decoder and takes zlib
 * otherwise, so there is no dispatch here. Zlib streams are never decoded with ISA-L, so neither is adler32.
 */
#include <stdlib.h>
#include <string.h>

#include <isa-l/igzip_lib.h>

uint32_t crc32_gzip_refl_by8(uint32_t crc, const unsigned char *data, uint64_t size);
uint32_t crc32_gzip_refl(uint32_t crc, const unsigned char *data, uint64_t size);
uint32_t isal_adler32_bam1(uint32_t adler, const unsigned char *data, uint64_t size);

uint32_t crc32_gzip_refl(uint32_t crc, const unsigned char *data, uint64_t size)
{
	return crc32_gzip_refl_by8(crc, data, size);
}

uint32_t isal_adler32_bam1(uint32_t adler, const unsigned char *data, uint64_t size)
{
	(void)adler;
	(void)data;
	(void)size;
	abort();
}

void isal_gzip_header_init(struct isal_gzip_header *header)
{
	memset(header, 0, sizeof(*header));
}

void isal_zlib_header_init(struct isal_zlib_header *header)
{
	memset(header, 0, sizeof(*header));
}
