/* A dynamic glibc program: the loader, libc and libm out of Debian's packages, dlopen, and unwinding through a signal
 * frame by the C library's own backtrace(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int objects;
static volatile int depth;

static int count(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size, (void)data;
	objects++;
	if (strstr(info->dlpi_name, "libc.so.6"))
		puts("libc is loaded");
	return 0;
}

static void handler(int signal)
{
	void *frames[32];
	depth = backtrace(frames, 32);
	(void)signal;
}

__attribute__((noinline)) static void raise_in(int levels)
{
	if (levels)
		raise_in(levels - 1);
	else
		raise(SIGUSR1);
	__asm__ volatile("");
}

int main(void)
{
	dl_iterate_phdr(count, NULL);
	printf("objects %s\n", objects >= 4 ? "several" : "few");
	printf("cos %.3f\n", cos(atof("0")));
	void *self = dlopen(NULL, RTLD_NOW);
	double (*sine)(double) = (double (*)(double))dlsym(self, "sin");
	printf("sin %.3f\n", sine ? sine(1.0) : -1);
	if (dlopen("/no/such.so", RTLD_NOW))
		return 2;
	printf("dlopen: %s\n", strstr(dlerror(), "cannot open") ? "cannot open" : "?");
	signal(SIGUSR1, handler);
	raise_in(5);
	/* handler, the signal frame, raise, six of raise_in, main and what started it */
	printf("unwound %s\n", depth >= 9 ? "all" : "not all");
	return 0;
}
