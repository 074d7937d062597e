/* AVX state in two processes at a time, with signals in between: whoever switches between them has to keep all of it. */
#include <immintrin.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int signals;

__attribute__((target("avx"))) static void spoil(int signal)
{
	(void)signal;
	__asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0; vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0;"
			 "vmovaps %%ymm0, %%ymm1; vmovaps %%ymm0, %%ymm7; vmovaps %%ymm0, %%ymm15" ::: "memory");
	signals++;
}

/* Fills all sixteen registers, waits a while, and looks at them again. */
__attribute__((target("avx"))) static int round_trip(unsigned seed)
{
	unsigned in[16][8], out[16][8];
	for (int r = 0; r < 16; r++)
		for (int i = 0; i < 8; i++)
			in[r][i] = seed * 2654435761u + (unsigned)r * 97 + (unsigned)i;
	long spins = 20000;
#define LOAD(n) "vmovups " #n "*32(%[in]), %%ymm" #n ";"
#define STORE(n) "vmovups %%ymm" #n ", " #n "*32(%[out]);"
#define ALL(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
	__asm__ volatile(ALL(LOAD) "1: pause; dec %[spins]; jnz 1b;" ALL(STORE)
			 : [spins] "+r"(spins)
			 : [in] "r"(in), [out] "r"(out)
			 : "memory", "cc");
	return memcmp(in, out, sizeof in) == 0;
}

int main(void)
{
	if (!__builtin_cpu_supports("avx")) {
		puts("both kept their registers"); /* nothing to keep on such a CPU */
		return 0;
	}
	int child = fork() == 0;
	struct itimerval timer = {{0, 2000}, {0, 2000}};
	signal(SIGALRM, spoil);
	setitimer(ITIMER_REAL, &timer, NULL);
	int good = 1;
	for (unsigned i = 0; i < 300 || signals < 10; i++)
		good &= round_trip(i + 1000 * (unsigned)child);
	timer = (struct itimerval){{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &timer, NULL);
	if (child)
		_exit(!good);
	int status;
	while (wait(&status) < 0)
		;
	puts(good && status == 0 ? "both kept their registers" : "registers were lost");
	return !(good && status == 0);
}
