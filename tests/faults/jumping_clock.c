/* Preloaded: the wall clock jumps a day ahead and back with every look at it. The other clocks stay as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	static int looks;
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int result = real(clock, now);
	if (result == 0 && clock == CLOCK_REALTIME)
		now->tv_sec += (__atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED) % 3 - 1) * 86400;
	return result;
}
