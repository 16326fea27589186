/* SPDX-License-Identifier: MIT */
/*
 * The same object through the kernel's own uprobe: stock libbpf, no door. Attaches every program of OBJECT to
 * process PID at FUNCTION of FILE, or where its section says if that is a tracepoint, says "ready", and stays until standard input ends.
 *
 *     bench-kernel OBJECT PID FILE FUNCTION
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    struct bpf_object *object;
    struct bpf_program *program;

    if (argc != 5)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    object = bpf_object__open_file(argv[1], NULL);
    if (!object || bpf_object__load(object)) {
        fprintf(stderr, "loading %s into the kernel: %s\n", argv[1], strerror(errno));
        return 1;
    }
    bpf_object__for_each_program(program, object)
    {
        LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = argv[4],
                    .retprobe = strncmp(bpf_program__section_name(program), "uretprobe", 9) == 0);

        if (bpf_program__type(program) == BPF_PROG_TYPE_TRACEPOINT) {
            if (bpf_program__attach(program))
                continue;
            fprintf(stderr, "attaching in the kernel: %s\n", strerror(errno));
            return 1;
        }
        if (!bpf_program__attach_uprobe_opts(program, atoi(argv[2]), argv[3], 0, &opts)) {
            fprintf(stderr, "attaching in the kernel: %s\n", strerror(errno));
            return 1;
        }
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
