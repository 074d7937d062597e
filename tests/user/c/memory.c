/* Memory as a program sees it: maps, rights, faults with their addresses, copy on write, and threads that share all that. */
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096L

static sigjmp_buf back;
static volatile int code, number;
static char *volatile where;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	number = signal;
	code = info->si_code;
	where = info->si_addr;
	siglongjmp(back, 1);
}

/* Touches a byte, and tells whether that was the expected fault, at the very address. */
static int faults(char *at, int write, int signal, int why)
{
	number = 0;
	if (sigsetjmp(back, 1) == 0) {
		if (write)
			*(volatile char *)at = 1;
		else
			(void)*(volatile char *)at;
		return 0;
	}
	return number == signal && code == why && where == at;
}

static char *map(size_t pages, int prot, int flags, int fd, off_t page)
{
	char *p = mmap(NULL, pages * PAGE, prot, flags, fd, page * PAGE);
	CHECK(p != MAP_FAILED);
	return p;
}

static char *anon(size_t pages)
{
	return map(pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void rights(void)
{
	char *p = anon(4);
	p[PAGE] = 7;
	CHECK(p[0] == 0 && p[PAGE] == 7 && p[3 * PAGE] == 0);
	CHECK(mprotect(p + PAGE, PAGE, PROT_READ) == 0);
	CHECK(faults(p + PAGE + 5, 1, SIGSEGV, SEGV_ACCERR));
	CHECK(p[PAGE] == 7);
	CHECK(mprotect(p + PAGE, PAGE, PROT_NONE) == 0);
	CHECK(faults(p + 2 * PAGE - 1, 0, SIGSEGV, SEGV_ACCERR));
	CHECK(mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
	CHECK(p[PAGE] == 7);
	CHECK(munmap(p + 2 * PAGE, PAGE) == 0);
	CHECK(faults(p + 2 * PAGE + 9, 0, SIGSEGV, SEGV_MAPERR));
	CHECK(faults(p + 2 * PAGE + 9, 1, SIGSEGV, SEGV_MAPERR));
	p[3 * PAGE] = 1;
	FAILS(mprotect(p, 4 * PAGE, PROT_READ), ENOMEM);
	FAILS(mprotect(p + 1, PAGE, PROT_READ), EINVAL);
	CHECK(munmap(p, 4 * PAGE) == 0);
	CHECK(faults((char *)0x10, 0, SIGSEGV, SEGV_MAPERR));
}

static void places(void)
{
	char *p = anon(3);
	FAILS((long)mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
	p[PAGE] = 1;
	CHECK(mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
	CHECK(p[PAGE] == 0);
	CHECK(munmap(p + PAGE, PAGE) == 0);
	CHECK(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == p + PAGE);
	char *low = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK((uintptr_t)low < 1UL << 31);
	FAILS((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
	FAILS((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
	FAILS((long)mmap(p + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
	FAILS((long)mmap(NULL, -PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
	FAILS((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
	FAILS(munmap(p + 1, PAGE), EINVAL);
	FAILS(munmap(p, 0), EINVAL);
	FAILS(munmap((void *)-PAGE, PAGE), EINVAL);
	CHECK(munmap(p, 3 * PAGE) == 0 && munmap(low, PAGE) == 0);
}

static void files(void)
{
	char name[] = "/tmp/memoryXXXXXX";
	int fd = mkstemp(name);
	CHECK(fd >= 0 && unlink(name) == 0);
	char page[PAGE];
	for (int i = 0; i < 3; i++) {
		memset(page, 'a' + i, PAGE);
		CHECK(write(fd, page, PAGE) == PAGE);
	}
	char *shared = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char *copy = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	char *tail = map(1, PROT_READ, MAP_SHARED, fd, 2);
	CHECK(shared[PAGE] == 'b' && copy[PAGE] == 'b' && tail[9] == 'c');
	copy[0] = 'X';
	shared[PAGE] = 'Y';
	CHECK(shared[0] == 'a' && copy[PAGE] == 'Y');
	CHECK(pread(fd, page, 1, 0) == 1 && page[0] == 'a');
	CHECK(pread(fd, page, 1, PAGE) == 1 && page[0] == 'Y');
	CHECK(pwrite(fd, "Z", 1, 2 * PAGE + 9) == 1 && tail[9] == 'Z' && copy[2 * PAGE + 9] == 'Z');
	CHECK(faults(shared + 3 * PAGE + 1, 0, SIGBUS, BUS_ADRERR));
	CHECK(faults(copy + 3 * PAGE + 1, 1, SIGBUS, BUS_ADRERR));
	CHECK(ftruncate(fd, PAGE) == 0);
	CHECK(faults(shared + PAGE, 1, SIGBUS, BUS_ADRERR));
	CHECK(faults(tail, 0, SIGBUS, BUS_ADRERR));
	CHECK(copy[0] == 'X');
	CHECK(ftruncate(fd, 2 * PAGE) == 0 && shared[PAGE] == 0);
	CHECK(msync(shared, 2 * PAGE, MS_SYNC) == 0);
	FAILS(msync(shared, PAGE, MS_SYNC | MS_ASYNC), EINVAL);
	FAILS((long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 1), EINVAL);
	int reader = open("/proc/self/exe", O_RDONLY);
	CHECK(reader >= 0);
	FAILS((long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0), EACCES);
	char *exe = map(1, PROT_READ, MAP_SHARED, reader, 0);
	FAILS(mprotect(exe, PAGE, PROT_READ | PROT_WRITE), EACCES);
	CHECK(memcmp(exe, "\177ELF", 4) == 0);
	CHECK(munmap(shared, 4 * PAGE) == 0 && munmap(copy, 4 * PAGE) == 0 && munmap(tail, PAGE) == 0);
	CHECK(munmap(exe, PAGE) == 0 && close(fd) == 0 && close(reader) == 0);
}

static void moves(void)
{
	char *p = anon(4);
	for (int i = 0; i < 4; i++)
		p[i * PAGE] = (char)(i + 1);
	char *room = anon(16);
	CHECK(munmap(room, 16 * PAGE) == 0);
	char *q = mremap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	CHECK(q != MAP_FAILED && q[3 * PAGE] == 4 && q[4 * PAGE] == 0);
	char *r = mremap(q + PAGE, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
	CHECK(r == room && r[0] == 2 && r[PAGE] == 3);
	CHECK(faults(q + PAGE, 0, SIGSEGV, SEGV_MAPERR));
	CHECK(mremap(r, 2 * PAGE, PAGE, 0) == r);
	CHECK(faults(r + PAGE, 0, SIGSEGV, SEGV_MAPERR));
	FAILS((long)mremap(r, PAGE, 0, 0), EINVAL);
	FAILS((long)mremap(r + 1, PAGE, PAGE, 0), EINVAL);
	FAILS((long)mremap(q, 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE), EFAULT);
	FAILS((long)mremap(r, PAGE, PAGE, MREMAP_FIXED, q), EINVAL);
	CHECK(munmap(q, 8 * PAGE) == 0 && munmap(r, PAGE) == 0);
}

static void advice(void)
{
	char *p = anon(4);
	unsigned char present[4];
	memset(p, 1, 2 * PAGE);
	CHECK(mincore(p, 4 * PAGE, present) == 0);
	CHECK((present[0] & 1) && (present[1] & 1) && !(present[2] & 1) && !(present[3] & 1));
	CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0 && p[0] == 0 && p[PAGE] == 1);
	CHECK(madvise(p, 4 * PAGE, MADV_WILLNEED) == 0);
	FAILS(madvise(p, PAGE, 12345), EINVAL);
	FAILS(madvise(p + 1, PAGE, MADV_NORMAL), EINVAL);
	CHECK(munmap(p + 3 * PAGE, PAGE) == 0);
	FAILS(madvise(p, 4 * PAGE, MADV_DONTNEED), ENOMEM);
	CHECK(p[PAGE] == 0);
	FAILS(mincore(p, 4 * PAGE, present), ENOMEM);
	CHECK(madvise(p, PAGE, MADV_DONTFORK) == 0);
	CHECK(madvise(p + PAGE, PAGE, MADV_WIPEONFORK) == 0);
	memset(p, 5, 3 * PAGE);
	pid_t child = fork();
	if (child == 0) {
		int good = faults(p, 0, SIGSEGV, SEGV_MAPERR) && p[PAGE] == 0 && p[2 * PAGE] == 5;
		_exit(good ? 0 : 1);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(mlock(p, PAGE) == 0);
	FAILS(madvise(p, PAGE, MADV_DONTNEED), EINVAL);
	CHECK(munlock(p, PAGE) == 0 && munmap(p, 3 * PAGE) == 0);
}

static void copies(void)
{
	enum { PAGES = 600 };
	char *own = anon(PAGES);
	char *common = map(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < PAGES; i++)
		own[i * PAGE] = common[i * PAGE] = (char)i;
	for (int round = 0; round < 3; round++) {
		pid_t child = fork();
		if (child == 0) {
			int bad = 0;
			for (int i = 0; i < PAGES; i++) {
				bad |= own[i * PAGE] != (char)(i + round);
				own[i * PAGE] = 99;
				common[i * PAGE]++;
			}
			_exit(bad);
		}
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		int bad = 0;
		for (int i = 0; i < PAGES; i++) {
			bad |= own[i * PAGE] != (char)(i + round);
			bad |= common[i * PAGE] != (char)(i + round + 1);
			own[i * PAGE]++;
		}
		CHECK(!bad);
	}
	CHECK(munmap(own, PAGES * PAGE) == 0 && munmap(common, PAGES * PAGE) == 0);
}

static int deep(int levels)
{
	volatile char frame[4000];
	frame[0] = (char)levels;
	frame[3999] = 1;
	return levels == 0 ? frame[0] : deep(levels - 1) + frame[3999];
}

static void overflow(int levels)
{
	struct rlimit limit = {1 << 20, 1 << 20};
	CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
	deep(levels);
}

static void stacks(void)
{
	CHECK(deep(1000) == 1000); /* 4 MB of the usual 8 */
	pid_t child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		overflow(5000);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void heap(void)
{
	char *start = sbrk(0);
	CHECK(sbrk(5 * PAGE) == start);
	start[5 * PAGE - 1] = 1;
	CHECK(sbrk(-5 * PAGE) == start + 5 * PAGE && sbrk(0) == start);
	char *next = (char *)(((uintptr_t)start + PAGE - 1) & ~(PAGE - 1));
	CHECK(faults(next + PAGE, 0, SIGSEGV, SEGV_MAPERR));
	struct rlimit old, none = {0, RLIM_INFINITY};
	CHECK(getrlimit(RLIMIT_DATA, &old) == 0);
	none.rlim_max = old.rlim_max;
	CHECK(setrlimit(RLIMIT_DATA, &none) == 0);
	CHECK(sbrk(PAGE) == (void *)-1 && errno == ENOMEM);
	CHECK(setrlimit(RLIMIT_DATA, &old) == 0);
}

/* Threads that fault, unmap and protect at the same time: a stale translation would show another's data. */
static void *churn(void *arg)
{
	unsigned char mine = (unsigned char)(uintptr_t)arg;
	for (int round = 0; round < 50; round++) {
		unsigned char *p = (unsigned char *)anon(16);
		for (int i = 0; i < 16; i++) {
			if (p[i * PAGE] != 0)
				return "not zero";
			p[i * PAGE] = mine;
		}
		if (mprotect(p, 8 * PAGE, PROT_READ) != 0 || madvise(p + 8 * PAGE, PAGE, MADV_DONTNEED) != 0)
			return "call failed";
		for (int i = 0; i < 16; i++)
			if (p[i * PAGE] != (i == 8 ? 0 : mine))
				return "not mine";
		if (munmap(p, 16 * PAGE) != 0)
			return "not unmapped";
	}
	return NULL;
}

static void together(void)
{
	pthread_t threads[4];
	for (uintptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
	for (int i = 0; i < 4; i++) {
		void *result;
		CHECK(pthread_join(threads[i], &result) == 0 && result == NULL);
	}
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
	rights();
	places();
	files();
	moves();
	advice();
	copies();
	heap();
	together();
	stacks();
	return finish();
}
