/* A static glibc program: start-up, stdio, allocation, locale, time, floating point in printf. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void at_exit(void)
{
	puts("at exit");
}

int main(int argc, char **argv)
{
	atexit(at_exit);
	printf("arguments %d %s\n", argc, argv[1]);
	printf("numbers %d %lx %.6f %e %s\n", -42, 0xdeadbeefUL, sqrt(2.0), 1e300, "text");
	int *many = malloc(100000 * sizeof *many);
	for (int i = 0; i < 100000; i++)
		many[i] = (i * 7919) % 100003;
	qsort(many, 100000, sizeof *many, compare);
	for (int i = 1; i < 100000; i++)
		if (many[i - 1] > many[i])
			return 2;
	free(many);
	char *big = malloc(50 << 20); /* by mmap */
	memset(big, 1, 50 << 20);
	free(big);
	FILE *file = fopen("f", "w+");
	if (!file)
		return 3;
	fprintf(file, "line %d\n", 1);
	rewind(file);
	char line[100];
	if (!fgets(line, sizeof line, file))
		return 4;
	fputs(line, stdout);
	fclose(file);
	if (fopen("/nonexistent", "r") || errno != ENOENT)
		return 5;
	printf("%s\n", strerror(errno));
	time_t then = 86400;
	printf("%s", asctime(gmtime(&then)));
	if (time(NULL) < 1700000000)
		return 6;
	setenv("A", "b", 1);
	fflush(stdout);
	return system("echo shell $A; exit 5") == 5 << 8 ? 0 : 7;
}
