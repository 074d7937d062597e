/* What the test programs of this folder share: checks that say where they failed, and one last line. */
#ifndef CHECK_H
#define CHECK_H
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int failures;

#define CHECK(condition)                                                                                              \
	do {                                                                                                          \
		if (!(condition)) {                                                                                   \
			int error = errno;                                                                            \
			printf("%s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #condition, error, strerror(error)); \
			failures++;                                                                                   \
		}                                                                                                     \
	} while (0)

/* As CHECK for a call that must fail with an error. */
#define FAILS(call, error) CHECK((errno = 0, (call) == -1) && errno == (error))

static inline long milliseconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int finish(void)
{
	puts(failures ? "failed" : "passed");
	return failures != 0;
}
#endif
