/* The programs inside our binary: there, complete, and of the kind that costs a node little. */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/run/embedded.h"

static void assert_plain_elf(const unsigned char *begin, const unsigned char *end)
{
	Elf64_Ehdr header;
	size_t size = (size_t)(end - begin), i;

	assert_in_range(size, sizeof(header), 256 * 1024);
	memcpy(&header, begin, sizeof(header));
	assert_memory_equal(header.e_ident, ELFMAG, SELFMAG);
	assert_int_equal(header.e_type,
	                 ET_EXEC); /* position independent code would be relocated per process */
	assert_in_range(header.e_phoff + header.e_phnum * sizeof(Elf64_Phdr), 1, size);
	for (i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		memcpy(&segment, begin + header.e_phoff + i * sizeof(segment), sizeof(segment));
		assert_int_not_equal(segment.p_type, PT_INTERP);
		assert_int_not_equal(segment.p_type, PT_DYNAMIC);
		assert_true(segment.p_offset + segment.p_filesz <= size);
	}
}

static void the_monitor_is_a_whole_static_program(void **arg)
{
	(void)arg;
	assert_plain_elf(coracle_monitor_elf, coracle_monitor_elf_end);
}

static void pause_is_a_whole_static_program(void **arg)
{
	(void)arg;
	assert_plain_elf(coracle_pause_elf, coracle_pause_elf_end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_monitor_is_a_whole_static_program),
		cmocka_unit_test(pause_is_a_whole_static_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
