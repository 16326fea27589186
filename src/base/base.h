/* SPDX-License-Identifier: MIT */
/*
 * The few words every room uses: integer names, cleanup attributes, and how a
 * failure is told.
 *
 * Functions return 0 or a negative errno. Results go through `ret_…`
 * parameters, which stay untouched on failure. Where a person must learn *why*,
 * a `struct tn_error` travels along and is filled once, at the place that knows.
 * Nothing here allocates behind the caller's back, exits or prints.
 *
 * This header is also compiled into the agent (TN_FREESTANDING), which has no
 * libc: only the part above the dividing line exists there.
 */
#ifndef TN_BASE_H
#define TN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define TN_ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define TN_MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define TN_MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define TN_ROUND_UP(n, to)                 (((n) + ((to)-1)) / (to) * (to))
#define TN_ROUND_DOWN(n, to)               ((n) / (to) * (to))
#define TN_PAGE                            4096u
#define TN_LIKELY(x)                       __builtin_expect(!!(x), 1)
#define TN_UNLIKELY(x)                     __builtin_expect(!!(x), 0)
#define TN_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Sets `at` to the first row of `n` that `before`, an expression in `at`, does not hold for: rows that it holds for
   come first. By halves. */
#define TN_PARTITION(at, n, before)                                                                          \
    for (u32 lo_ = 0, hi_ = (n); (at) = lo_ + (hi_ - lo_) / 2, lo_ < hi_;)                                   \
        if (before)                                                                                          \
            lo_ = (at) + 1;                                                                                  \
        else                                                                                                 \
            hi_ = (at)

#ifndef TN_FREESTANDING
/* ------------------------------------------------------------------------- hosted only */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Nanoseconds of a clock that nobody sets. */
static inline u64 tn_monotonic(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000000000u + (u64)ts.tv_nsec;
}

static inline void tn_cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void tn_cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void tn_cleanup_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

/* Attach to a local variable: released when it goes out of scope. Pointers start NULL, descriptors −1. */
#define _free_      __attribute__((cleanup(tn_cleanup_free)))
#define _close_     __attribute__((cleanup(tn_cleanup_close)))
#define _fclose_    __attribute__((cleanup(tn_cleanup_fclose)))
#define _clean_(fn) __attribute__((cleanup(fn)))

/* Hands the value over: returns it and leaves nothing behind for the cleanup to release. */
#define TN_TAKE_PTR(p)                                                                                       \
    ({                                                                                                       \
        __typeof__(p) tn_taken_ = (p);                                                                       \
        (p) = NULL;                                                                                          \
        tn_taken_;                                                                                           \
    })
#define TN_TAKE_FD(fd)                                                                                       \
    ({                                                                                                       \
        int tn_taken_ = (fd);                                                                                \
        (fd) = -1;                                                                                           \
        tn_taken_;                                                                                           \
    })

/*
 * Why something was refused, for people and for scripts. `reason` is a stable
 * snake_case name out of a list of rows ("exit_by_tail_call"); `message` says
 * what, where and what to do, in one or more lines without a final newline.
 * Both strings live in the struct. An empty reason means "nothing said".
 */
struct tn_error {
    char reason[48];
    char message[976];
};

/* Fills `err` (may be NULL) once: a message that is already there stays, since the deepest place knows best.
   Returns `code`, so that `return tn_fail(err, -ENOENT, "no_symbol", "…", …);` reads well. */
int tn_fail(struct tn_error *err, int code, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* All `size` bytes from `offset` on. 0, −errno, or −ENODATA: the file ends before. */
int tn_pread_all(int fd, void *to, u64 size, u64 offset);
/* All of it, from where the file is. 0 or −errno. */
int tn_write_all(int fd, const void *bytes, u64 size);

/* In a child that does one thing for its parent: it ends with `parent`, at once where that has ended, and
   has neither its handlers nor its mask. */
void tn_child_begin(pid_t parent);

/* Edit distance of two names, of which the first 127 letters count; above `limit` it is given up: limit + 1.
   `fold`: without regard to case. */
u32 tn_distance(const char *a, const char *b, u32 limit, bool fold);

#endif /* TN_FREESTANDING */
#endif
