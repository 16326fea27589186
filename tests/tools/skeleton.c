/* SPDX-License-Identifier: MIT */
/*
 * A tool as people write them with a skeleton: open, set constants, load, attach to a function of its own,
 * read events and global data. Knows nothing of Tenon. Prints what it saw, one `name=value` a line; 1 when a
 * step fails.
 *
 *   tool load           open and load, look at the maps, never attach
 *   tool hold           the same, and wait to be killed
 *   tool attach [hold]  all of it
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "skeleton.skel.h"

struct event {
    __u32 pid;
    int a, b;
    __u64 serial;
};

static int seen, sum;

__attribute__((noinline)) int tool_add(int a, int b)
{
    __asm__ volatile("" ::: "memory");
    return a + b;
}

static int on_event(void *ctx, void *data, size_t size)
{
    const struct event *e = data;

    if (size < sizeof(*e) || e->pid != (__u32)getpid())
        return -1;
    seen++;
    sum += e->a + e->b;
    return 0;
}

static int fail(const char *what, long err)
{
    fprintf(stderr, "%s: %s\n", what, strerror((int)-err));
    return 1;
}

static __attribute__((noreturn)) void hold(void)
{
    printf("held\n");
    fflush(stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    struct skeleton *skel = skeleton__open();
    struct ring_buffer *rb = NULL;
    __u32 key = 7;
    __u64 value = 41;
    int err, total = 0;

    if (!skel)
        return fail("open", -errno);
    skel->rodata->only_below = 100;
    skel->data->factor = 2;
    err = skeleton__load(skel);
    if (err)
        return fail("load", err);
    err = bpf_map__update_elem(skel->maps.by_arg, &key, sizeof(key), &value, sizeof(value), BPF_NOEXIST);
    if (err)
        return fail("update", err);
    printf("factor=%d\nonly_below=%d\ncalls=%llu\n", skel->data->factor, skel->rodata->only_below,
           (unsigned long long)skel->bss->calls);
    rb = ring_buffer__new(bpf_map__fd(skel->maps.events), on_event, NULL, NULL);
    if (!rb)
        return fail("ring buffer", -errno);
    printf("idle=%d\n", ring_buffer__poll(rb, 50));
    if (argc > 1 && !strcmp(argv[1], "load"))
        goto out;
    if (argc > 1 && !strcmp(argv[1], "hold"))
        hold();

    LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = "tool_add");

    skel->links.on_add = bpf_program__attach_uprobe_opts(skel->progs.on_add, 0, "/proc/self/exe", 0, &opts);
    if (!skel->links.on_add)
        return fail("attach", -errno);
    opts.retprobe = true;
    skel->links.on_add_return =
        bpf_program__attach_uprobe_opts(skel->progs.on_add_return, 0, "/proc/self/exe", 0, &opts);
    if (!skel->links.on_add_return)
        return fail("attach return", -errno);
    for (int i = 0; i < 10; i++)
        total += tool_add(7, i);
    tool_add(500, 0);
    for (int i = 0; i < 20 && seen < 10; i++)
        ring_buffer__poll(rb, 100);
    bpf_map__lookup_elem(skel->maps.by_arg, &key, sizeof(key), &value, sizeof(value), 0);
    printf("total=%d\nseen=%d\nsum=%d\ncalls=%llu\nreturned=%llu\nby_arg=%llu\n", total, seen, sum,
           (unsigned long long)skel->bss->calls, (unsigned long long)skel->bss->returned,
           (unsigned long long)value);
    if (argc > 2)
        hold();
out:
    ring_buffer__free(rb);
    skeleton__destroy(skel);
    return 0;
}
