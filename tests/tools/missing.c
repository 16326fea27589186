/* SPDX-License-Identifier: MIT */
/* Loads and attaches the one program of missing.bpf.o that is named; 0 only when all of it works. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct bpf_object *object = argc == 3 ? bpf_object__open(argv[1]) : NULL;
    struct bpf_program *prog, *wanted = NULL;
    struct bpf_map *map;

    if (!object)
        return 2;
    bpf_object__for_each_program(prog, object)
    {
        bool is_it = !strcmp(bpf_program__name(prog), argv[2]);

        bpf_program__set_autoload(prog, is_it);
        wanted = is_it ? prog : wanted;
    }
    bpf_object__for_each_map(map, object) bpf_map__set_autocreate(map, !strcmp(argv[2], "missing_map"));
    if (!wanted)
        return 2;
    if (bpf_object__load(object)) {
        printf("load: %s\n", strerror(errno));
        return 1;
    }
    if (!bpf_program__attach(wanted)) {
        printf("attach: %s\n", strerror(errno));
        return 1;
    }
    printf("attached\n");
    return 0;
}
