/* tests/fuzz/driver.c
 *
 * Runs a fuzz target on files, for compilers without libFuzzer: each argument is an input, or a directory whose files are.
 * Prints each name before its run, so that the last line names the culprit of a crash.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned int inputs; /* a program of one file may count */

static void die(const char *path)
{
	perror(path);
	exit(2);
}

static void run_file(const char *path, size_t size)
{
	uint8_t *data;
	FILE *file;

	file = fopen(path, "rb");
	if (!file)
		die(path);
	/* Exactly as large as the input: a sanitizer sees the first byte read beyond it. */
	data = malloc(size ? size : 1);
	if (!data || fread(data, 1, size, file) != size)
		die(path);
	fclose(file);
	puts(path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	inputs++;
}

static void run_path(const char *path);

static void run_directory(const char *path)
{
	struct dirent **names;
	int count, i;

	count = scandir(path, &names, NULL, alphasort);
	if (count < 0)
		die(path);
	for (i = 0; i < count; i++) {
		char child[4096];

		if (names[i]->d_name[0] != '.') {
			snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name);
			run_path(child);
		}
		free(names[i]);
	}
	free(names);
}

static void run_path(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		die(path);
	if (S_ISDIR(st.st_mode))
		run_directory(path);
	else
		run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
	static const uint8_t nothing[1];
	int i;

	LLVMFuzzerTestOneInput(nothing, 0);
	for (i = 1; i < argc; i++)
		run_path(argv[i]);
	printf("%u inputs\n", inputs);
	return 0;
}
