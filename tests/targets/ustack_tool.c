/* SPDX-License-Identifier: MIT */
/*
 * A tool like any other, of stock libbpf, that knows nothing of Tenon: alone it attaches by the kernel, under `tenon run` by us.
 *
 *     targets-ustack-tool OBJECT PID FILE entry|exit FUNCTION[+OFFSET]
 *                                         usdt PROVIDER:NAME
 *                                         call CALL                       its entry, by a tracepoint
 *                                         raw sys_enter|sys_exit
 *                                         fentry|fexit -                  of `hooked`, by its type
 *
 * It says `ready`, or what libbpf answered. Each line on standard input is answered by one: `rows` by the rows of the object,
 * `keys MAP` by the numbers of a map of stacks, `at MAP KEY` by that stack, `delete MAP KEY`, `update MAP KEY`, `take MAP KEY` by the
 * errno.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 127

struct row {
    int64_t answer;
    uint64_t ip[DEPTH];
};

static struct bpf_object *object;

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
    return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static const char *program_of(const char *kind)
{
    static const char *const rows[][2] = {{"usdt", "at_probe"},
                                          {"call", "at_call"},
                                          {"raw", "at_any_call"},
                                          {"fentry", "at_enter"},
                                          {"fexit", "at_leave"}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!strcmp(kind, rows[i][0]))
            return rows[i][1];
    return "at_place";
}

static struct bpf_link *attach(pid_t pid, const char *file, const char *kind, char *name)
{
    LIBBPF_OPTS(bpf_uprobe_opts, opts, .retprobe = !strcmp(kind, "exit"));
    const struct bpf_program *prog = bpf_object__find_program_by_name(object, program_of(kind));
    char *plus = strchr(name, '+'), *colon = strchr(name, ':');

    if (!strcmp(kind, "usdt") && colon) {
        *colon = 0;
        return bpf_program__attach_usdt(prog, pid, file, name, colon + 1, NULL);
    }
    if (!strcmp(kind, "call")) {
        char event[64];

        snprintf(event, sizeof(event), "sys_enter_%s", name);
        return bpf_program__attach_tracepoint(prog, "syscalls", event);
    }
    if (!strcmp(kind, "raw"))
        return bpf_program__attach_raw_tracepoint(prog, name);
    if (!strcmp(kind, "fentry") || !strcmp(kind, "fexit"))
        return bpf_program__attach(prog);
    if (plus)
        *plus = 0;
    opts.func_name = name;
    return bpf_program__attach_uprobe_opts(prog, pid, file, plus ? strtoul(plus + 1, NULL, 0) : 0, &opts);
}

static void print_row(const struct row *row)
{
    printf("[%lld", (long long)row->answer);
    for (int i = 0; i < DEPTH; i++)
        printf(",%llu", (unsigned long long)row->ip[i]);
    printf("]");
}

static void rows(void)
{
    int fd = bpf_object__find_map_fd_by_name(object, "rows");
    struct row row;

    printf("[");
    for (uint32_t key = 0; bpf_map_lookup_elem(fd, &key, &row) == 0; key++) {
        printf("%s", key ? "," : "");
        print_row(&row);
    }
    printf("]\n");
}

static void keys(int fd)
{
    uint32_t key, *prev = NULL, next;

    printf("[");
    while (bpf_map_get_next_key(fd, prev, &next) == 0) {
        printf("%s%u", prev ? "," : "", next);
        key = next;
        prev = &key;
    }
    printf("]\n");
}

static bool obey(const char *line)
{
    char word[16] = "", name[16] = "";
    struct row row = {0};
    uint32_t key = 0;
    int n = sscanf(line, "%15s %15s %u", word, name, &key), r = 0, fd;

    if (n == 1 && !strcmp(word, "rows")) {
        rows();
        return true;
    }
    fd = bpf_object__find_map_fd_by_name(object, name);
    if (fd < 0)
        return false;
    if (n == 2 && !strcmp(word, "keys")) {
        keys(fd);
        return true;
    }
    if (!strcmp(word, "at"))
        r = bpf_map_lookup_elem(fd, &key, row.ip);
    else if (!strcmp(word, "delete"))
        r = bpf_map_delete_elem(fd, &key);
    else if (!strcmp(word, "update"))
        r = bpf_map_update_elem(fd, &key, row.ip, BPF_ANY);
    else if (!strcmp(word, "take"))
        r = bpf_map_lookup_and_delete_elem(fd, &key, row.ip);
    else
        return false;
    row.answer = r;
    print_row(&row);
    printf("\n");
    return true;
}

int main(int argc, char **argv)
{
    struct bpf_program *prog;
    struct bpf_link *link;
    char line[64];

    if (argc != 6)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 1 << 20);
    libbpf_set_print(quiet);
    object = bpf_object__open_file(argv[1], NULL);
    if (!object)
        return 1;
    bpf_object__for_each_program(prog, object)
        bpf_program__set_autoload(prog, !strcmp(bpf_program__name(prog), program_of(argv[4])));
    if (bpf_object__load(object)) {
        printf("load: %s\n", strerror(errno));
        return 1;
    }
    link = attach(atoi(argv[2]), argv[3], argv[4], argv[5]);
    if (!link) {
        printf("attach: %s\n", strerror(errno));
        return 1;
    }
    printf("ready\n");
    while (fgets(line, sizeof(line), stdin))
        if (!obey(line))
            printf("what?\n");
    bpf_link__destroy(link);
    bpf_object__close(object);
    return 0;
}
