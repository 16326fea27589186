/* SPDX-License-Identifier: MIT */
/*
 * Reading an object file and handing it to libbpf, whatever it is.
 */
#include "cli/object.h"

#include <bpf/btf.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/connect.h"
#include "cli/value.h"

#define OBJECT_MAX (64u << 20) /* bytes */

static const char *machine_name(unsigned machine)
{
    switch (machine) {
    case EM_X86_64:
        return "x86-64";
    case EM_386:
        return "i386";
    case EM_AARCH64:
        return "ARM64";
    case EM_NONE:
        return "no";
    default:
        return "another";
    }
}

/* What the file is, from its head alone. */
static int check_head(const char *path, const u8 *bytes, size_t len, struct tn_error *err)
{
    Elf64_Ehdr head;

    if (len == 0)
        return tn_fail(err, -ENOEXEC, "empty_file", "%s: the file is empty", path);
    if (len < SELFMAG || memcmp(bytes, ELFMAG, SELFMAG) != 0)
        return tn_fail(err, -ENOEXEC, "not_elf",
                       "%s: not an ELF file (compile with: clang -g -O2 -target bpf -c)", path);
    if (len < sizeof(head))
        return tn_fail(err, -ENOEXEC, "truncated_elf",
                       "%s: truncated: %zu bytes are too few for an ELF header", path, len);
    memcpy(&head, bytes, sizeof(head));
    if (head.e_ident[EI_CLASS] != ELFCLASS64)
        return tn_fail(err, -ENOEXEC, "not_bpf", "%s: a 32-bit ELF file; eBPF objects are 64-bit", path);
    if (head.e_ident[EI_DATA] != ELFDATA2LSB)
        return tn_fail(
            err, -ENOEXEC, "wrong_endian",
            "%s: a big-endian object on a little-endian machine (compile with -target bpf or bpfel)", path);
    if (head.e_machine != EM_BPF)
        return tn_fail(err, -ENOEXEC, "not_bpf",
                       "%s: an ELF file of %s machine, not eBPF (compile with: clang -g -O2 -target bpf -c)",
                       path, machine_name(head.e_machine));
    if (head.e_type != ET_REL)
        return tn_fail(err, -ENOEXEC, "not_bpf",
                       "%s: an eBPF file, but not a relocatable object (ELF type %u)", path, head.e_type);
    if (head.e_shentsize != sizeof(Elf64_Shdr) || head.e_shnum == 0 || head.e_shoff > len ||
        (u64)head.e_shnum * sizeof(Elf64_Shdr) > len - head.e_shoff)
        return tn_fail(err, -ENOEXEC, "truncated_elf",
                       "%s: truncated or damaged: its section table (%u sections at byte %llu) does not lie "
                       "in its %zu bytes",
                       path, head.e_shnum, (unsigned long long)head.e_shoff, len);
    for (unsigned i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr section;

        memcpy(&section, bytes + head.e_shoff + i * sizeof(section), sizeof(section));
        if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
            (section.sh_offset > len || section.sh_size > len - section.sh_offset))
            return tn_fail(err, -ENOEXEC, "truncated_elf",
                           "%s: truncated or damaged: section %u lies outside the file", path, i);
    }
    return 0;
}

static int open_object(const struct tn_obj_file *file, struct bpf_object **ret_object)
{
    LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = file->name);
    struct bpf_object *object = bpf_object__open_mem(file->bytes, file->len, &opts);

    if (!object)
        return errno ? -errno : -EINVAL;
    *ret_object = object;
    return 0;
}

/* In a child: does libbpf survive this file? */
static int rehearse(const char *path, const struct tn_obj_file *file, struct tn_error *err)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return tn_fail(err, -errno, "no_process", "fork: %s", strerror(errno));
    if (pid == 0) {
        struct bpf_object *object = NULL;
        struct bpf_program *program;
        unsigned len = 0;

        alarm(10);
        libbpf_set_print(NULL);
        if (open_object(file, &object) == 0)
            bpf_object__for_each_program(program, object) len +=
                (unsigned)strlen(bpf_program__section_name(program));
        _exit(len > 1u << 30);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return tn_fail(err, -errno, "no_process", "waitpid: %s", strerror(errno));
    if (!WIFEXITED(status))
        return tn_fail(err, -ENOEXEC, "hostile_elf",
                       "%s: damaged: reading it ended libbpf with signal %d (%s)", path, WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
    return 0;
}

void tn_obj_file_clear(struct tn_obj_file *file)
{
    free(file->bytes);
    memset(file, 0, sizeof(*file));
}

int tn_obj_read(const char *path, struct tn_obj_file *ret_file, struct tn_error *err)
{
    _clean_(tn_obj_file_clear) struct tn_obj_file file = {0};
    _close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *last = strrchr(path, '/');
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return tn_fail(err, -errno, "no_file", "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return tn_fail(err, -ENOEXEC, "not_a_file", "%s: %s, not a regular file", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a device, pipe or socket");
    if (st.st_size > (off_t)OBJECT_MAX)
        return tn_fail(err, -EFBIG, "too_large", "%s: %lld bytes; objects of more than %u are refused", path,
                       (long long)st.st_size, OBJECT_MAX);
    file.bytes = malloc((size_t)st.st_size + 1);
    if (!file.bytes)
        return tn_fail(err, -ENOMEM, "no_memory", "%s: no memory for %lld bytes", path,
                       (long long)st.st_size);
    while (file.len < (size_t)st.st_size) {
        ssize_t n = read(fd, file.bytes + file.len, (size_t)st.st_size - file.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tn_fail(err, -errno, "no_file", "%s: %s", path, strerror(errno));
        if (n == 0)
            break;
        file.len += (size_t)n;
    }
    r = check_head(path, file.bytes, file.len, err);
    if (r)
        return r;
    snprintf(file.name, sizeof(file.name), "%s", last ? last + 1 : path);
    if (strlen(file.name) > 2 && strcmp(file.name + strlen(file.name) - 2, ".o") == 0)
        file.name[strlen(file.name) - 2] = 0;
    if (strlen(file.name) > 4 && strcmp(file.name + strlen(file.name) - 4, ".bpf") == 0)
        file.name[strlen(file.name) - 4] = 0;
    r = rehearse(path, &file, err);
    if (r)
        return r;
    *ret_file = file;
    memset(&file, 0, sizeof(file));
    return 0;
}

int tn_obj_open(const struct tn_obj_file *file, struct bpf_object **ret_object, struct tn_error *err)
{
    struct bpf_object *object = NULL;
    const char *said;
    int r;

    tn_libbpf_forget();
    r = open_object(file, &object);
    if (r) {
        said = tn_libbpf_said();
        return tn_fail(err, -ENOEXEC, "bad_object", "%s: libbpf cannot open it: %s%s%.*s", file->name,
                       strerror(-r), *said ? "\n  " : "", (int)strcspn(said, "\n"), said);
    }
    if (!bpf_object__next_program(object, NULL)) {
        bpf_object__close(object);
        return tn_fail(
            err, -ENOEXEC, "no_program",
            "%s: no program in it (a program is a function with SEC(\"uprobe/…\") or SEC(\"uretprobe/…\"))",
            file->name);
    }
    *ret_object = object;
    return 0;
}

int tn_obj_set(struct bpf_object *object, const char *assignment, struct tn_error *err)
{
    const struct btf *btf = bpf_object__btf(object);
    const char *equals = strchr(assignment, '=');
    struct bpf_map *map;

    if (!equals || equals == assignment)
        return tn_fail(err, -EINVAL, "bad_assignment", "--set %s: write NAME=VALUE", assignment);
    if (!btf)
        return tn_fail(err, -ENOENT, "no_btf",
                       "--set %s: the object has no type information (compile with -g)", assignment);
    bpf_object__for_each_map(map, object)
    {
        const struct btf_type *section;
        const struct btf_var_secinfo *row;
        size_t size;
        const void *initial = bpf_map__initial_value(map, &size);
        _free_ u8 *bytes = NULL;
        s32 id;
        int r;

        if (!initial)
            continue;
        id = btf__find_by_name_kind(
            btf, strchr(bpf_map__name(map), '.') ? strchr(bpf_map__name(map), '.') : "", BTF_KIND_DATASEC);
        if (id <= 0)
            continue;
        section = btf__type_by_id(btf, (u32)id);
        row = btf_var_secinfos(section);
        for (u32 i = 0; i < btf_vlen(section); i++, row++) {
            const struct btf_type *var = btf__type_by_id(btf, row->type);
            const char *name = var ? btf__name_by_offset(btf, var->name_off) : NULL;

            if (!name || !btf_is_var(var) || strlen(name) != (size_t)(equals - assignment) ||
                strncmp(name, assignment, strlen(name)) != 0)
                continue;
            if (row->offset > size || row->size > size - row->offset)
                return tn_fail(err, -EINVAL, "bad_object", "--set %s: the variable lies outside its section",
                               assignment);
            bytes = malloc(size);
            if (!bytes)
                return tn_fail(err, -ENOMEM, "no_memory", "--set %s: no memory", assignment);
            memcpy(bytes, initial, size);
            r = tn_value_parse_word(btf, var->type, equals + 1, bytes + row->offset, row->size, err);
            return r ? r : bpf_map__set_initial_value(map, bytes, size);
        }
    }
    return tn_fail(err, -ENOENT, "no_variable", "--set %s: the object has no global variable of this name",
                   assignment);
}
