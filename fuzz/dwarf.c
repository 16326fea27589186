/* SPDX-License-Identifier: MIT */
/*
 * Coverage-guided fuzzing of what stands between a user's binary and our types.
 *
 *      byte 0 % 3   0   the answer of the confined child, which nobody but our checks has seen
 *                   1   the ELF file, as the parent looks at it before any library does
 *                   2   the whole way, child included; rarely, since that starts a process. libdw is no
 *                       target: a file may end it, and then the refusal must have a name. Byte 0 / 3 odd: as
 *                       what a header was compiled to
 *
 * libFuzzer's own main, as in btf.c: -seeds=DIR writes a corpus.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "host/child.h"
#include "host/image.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static int memory_file(const u8 *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    return fd;
}

static void try_image(const u8 *data, size_t size)
{
    struct tn_host_image image = {0};
    struct tn_error err = {0};
    u8 *copy = malloc(size + 1); /* aligned, and no byte longer than it says */

    must(copy);
    copy = realloc(copy, size ? size : 1);
    memcpy(copy, data, size);
    if (tn_host_image_open(copy, size, &image, &err)) {
        must(*err.reason && *err.message);
    } else {
        u64 names = 0;

        for (u32 k = 0; k < image.head.nfuncs; k++)
            names += strlen(image.strings + image.func[k].name);
        for (u32 k = 0; k < image.head.nvars; k++)
            names += strlen(image.strings + image.var[k].name);
        must(names < 1ull << 40);
        tn_btf_close(image.view);
    }
    free(copy);
}

static void try_elf(const u8 *data, size_t size)
{
    static struct tn_host_elf elf;
    struct tn_error err = {0};
    int fd = memory_file(data, size);

    if (tn_host_elf_read(fd, "fuzz", &elf, &err)) {
        must(*err.reason && *err.message);
    } else {
        must(elf.build_id_len <= TN_HOST_BUILD_ID_MAX && elf.alt_build_id_len <= TN_HOST_BUILD_ID_MAX);
        must(strlen(elf.debuglink) < sizeof(elf.debuglink) && !strchr(elf.debuglink, '/'));
        must(strlen(elf.altlink) < sizeof(elf.altlink) && elf.nsegments <= TN_HOST_SEGMENTS_MAX);
        must(!elf.has_btf || elf.btf_size <= size);
        (void)tn_host_elf_offset(&elf, 0x1000);
    }
    close(fd);
}

static void try_all(const u8 *data, size_t size, bool declared)
{
    const char *nowhere = "/nowhere";
    int fd = memory_file(data, size);
    struct tn_host_opts opts = {
        .fd = fd, .cache_dir = "", .limit_ms = 5000, .debug_dirs = &nowhere, .ndebug_dirs = 1};
    struct tn_host_types *types = NULL;
    struct tn_error err = {0};

    opts.types_fd = declared ? &fd : NULL;
    opts.declared = declared;
    if (!tn_host_types_open(&opts, &types, &err)) {
        for (u32 k = 0; k < tn_host_types_nfuncs(types); k++)
            must(tn_host_types_func_named(types, tn_host_types_func(types, k)->name, 0));
        tn_host_types_close(types);
    } else {
        must(*err.reason && *err.message);
        /* Ended, and not by a signal: a sanitizer found something in our part of the child. */
        must(strcmp(err.reason, "types_crash") || strstr(err.message, "signal"));
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static u32 turn;

    if (!size)
        return 0;
    switch (data[0] % 3) {
    case 0:
        try_image(data + 1, size - 1);
        break;
    case 1:
        try_elf(data + 1, size - 1);
        break;
    default:
        if (turn++ % 16 == 0)
            try_all(data + 1, size - 1, data[0] / 3 % 2);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------- seeds */

/* Abbreviations: 1 unit, 2 base type, 3 struct, 4 member, 5 function, 6 parameter, 7 variable, 8 pointer,
   9 declared. */
// clang-format off
static const u8 seed_abbrev[] = {
    1, 0x11, 1, 0x25, 8, 0x13, 0xb, 0, 0,                             /* producer, language */
    2, 0x24, 0, 3, 8, 0xb, 0xb, 0x3e, 0xb, 0, 0,                      /* name, size, encoding */
    3, 0x13, 1, 3, 8, 0xb, 0xb, 0, 0,                                 /* name, size */
    4, 0xd, 0, 3, 8, 0x49, 0x13, 0x38, 0xb, 0, 0,                     /* name, type, place */
    5, 0x2e, 1, 3, 8, 0x49, 0x13, 0x11, 1, 0x12, 6, 0x3f, 0x19, 0, 0, /* name, type, low, high, external */
    6, 5, 0, 3, 8, 0x49, 0x13, 2, 0x18, 0, 0,                         /* name, type, location */
    7, 0x34, 0, 3, 8, 0x49, 0x13, 2, 0x18, 0, 0,                      /* name, type, location */
    8, 0xf, 0, 0x49, 0x13, 0, 0,                                      /* type */
    9, 0x2e, 1, 3, 8, 0x49, 0x13, 0x3f, 0x19, 0x3c, 0x19, 0, 0,       /* name, type, external, declaration */
    0,
};
static const u8 seed_info[] = {
    0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 8,                                  /* 0: length (filled in), DWARF 4 */
    1, 'G', 'N', 'U', ' ', 0, 12,                                     /* 11 */
    2, 'i', 'n', 't', 0, 4, 5,                                        /* 18: int */
    3, 's', 0, 16,                                                    /* 25: struct s */
    4, 'a', 0, 18, 0, 0, 0, 0,                                        /* 29: a */
    4, 'p', 0, 46, 0, 0, 0, 8,                                        /* 37: p */
    0,                                                                /* 45 */
    8, 25, 0, 0, 0,                                                   /* 46: struct s * */
    5, 'f', 0, 18, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0,   /* 51: f at 0x1000 */
    6, 'x', 0, 46, 0, 0, 0, 1, 0x55,                                  /* in rdi */
    0,
    7, 'v', 0, 25, 0, 0, 0, 9, 3, 0, 0x20, 0, 0, 0, 0, 0, 0,          /* v at 0x2000 */
    0,
};
// clang-format on
/* As stub.c has them made: g is declared, and its parameter has a name beside it. */
static const u8 seed_declared[] = {
    9, 'g', 0,   18,  0,   0,   0, /* g */
    6, 0,   46,  0,   0,   0,   0, /* takes a pointer */
    0, 5,   't', 'e', 'n', 'o', 'n', '_', 'n', 'a', 'm', 'e', 'd', '_', 'g', 0, 18, 0, 0,    0, 0, 0x10,
    0, 0,   0,   0,   0,   0,   16,  0,   0,   0,   6,   'o', 0,   46,  0,   0, 0,  1, 0x55, 0, 0,
};
static const u8 seed_note[] = {4, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0, 1, 2, 3, 4};
static const u8 seed_link[] = {'a', '.', 'd', 'b', 'g', 0, 0, 0, 1, 2, 3, 4};
static const u8 seed_alt[] = {'a', '.', 'd', 'w', 'z', 0, 5, 6, 7, 8};
#define SEED_NAMES "\0.debug_info\0.debug_abbrev\0.note\0.gnu_debuglink\0.gnu_debugaltlink\0.shstrtab\0.text"

static size_t seed_elf(u8 *to, u32 which)
{
    u8 info[sizeof(seed_info) + sizeof(seed_declared)];
    u32 info_size = sizeof(seed_info);

    memcpy(info, seed_info, sizeof(seed_info));
    if (which == 2) { /* in the place of the unit's end */
        memcpy(info + info_size - 1, seed_declared, sizeof(seed_declared));
        info_size += (u32)sizeof(seed_declared) - 1;
    }
    const struct {
        const void *bytes;
        u32 size, name, type;
    } part[] = {
        {NULL, 0, 0, SHT_NULL},
        {info, info_size, 1, SHT_PROGBITS},
        {seed_abbrev, sizeof(seed_abbrev), 13, SHT_PROGBITS},
        {seed_note, sizeof(seed_note), 27, SHT_NOTE},
        {SEED_NAMES, sizeof(SEED_NAMES), 67, SHT_STRTAB},
        {seed_link, sizeof(seed_link), 33, SHT_PROGBITS},
        {seed_alt, sizeof(seed_alt), 48, SHT_PROGBITS},
    };
    u32 n = which == 1 ? 7 : 5;
    u64 at = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr);
    Elf64_Shdr sections[7] = {{0}};
    Elf64_Ehdr eh = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                     .e_type = ET_DYN,
                     .e_machine = EM_X86_64,
                     .e_version = EV_CURRENT,
                     .e_phoff = sizeof(Elf64_Ehdr),
                     .e_ehsize = sizeof(Elf64_Ehdr),
                     .e_phentsize = sizeof(Elf64_Phdr),
                     .e_phnum = 1,
                     .e_shentsize = sizeof(Elf64_Shdr),
                     .e_shnum = (u16)n,
                     .e_shstrndx = 4};
    Elf64_Phdr ph = {.p_type = PT_LOAD, .p_flags = PF_X | PF_R, .p_filesz = 0x3000, .p_memsz = 0x3000};

    for (u32 k = 1; k < n; k++) {
        sections[k] = (Elf64_Shdr){.sh_name = part[k].name,
                                   .sh_type = part[k].type,
                                   .sh_offset = at,
                                   .sh_size = part[k].size,
                                   .sh_addralign = 1};
        memcpy(to + at, part[k].bytes, part[k].size);
        if (k == 1) {
            to[at] = (u8)(part[k].size - 4);
            to[at + 1] = (u8)((part[k].size - 4) >> 8);
        }
        at += part[k].size;
    }
    at = TN_ROUND_UP(at, 8);
    eh.e_shoff = at;
    memcpy(to, &eh, sizeof(eh));
    memcpy(to + sizeof(eh), &ph, sizeof(ph));
    memcpy(to + at, sections, n * sizeof(*sections));
    return at + n * sizeof(*sections);
}

static int write_seed(const char *dir, u32 k, u8 kind, const void *bytes, size_t size)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%03u", dir, k);
    f = fopen(path, "wb");
    if (!f)
        return 1;
    fputc(kind, f);
    fwrite(bytes, size, 1, f);
    return fclose(f) != 0;
}

static int write_seeds(const char *dir)
{
    static struct tn_host_elf elf;
    static u8 file[4096];
    struct tn_host_child_in in = {.elf = &elf, .debug_fd = -1, .alt_fd = -1, .types_fd = -1};
    struct tn_host_child child;
    struct tn_error err = {0};
    size_t size = seed_elf(file, 1);
    void *image = NULL;
    u64 image_size = 0;
    int r = write_seed(dir, 0, 1, file, size);

    size = seed_elf(file, 2);
    r |= write_seed(dir, 4, 5, file, size);
    size = seed_elf(file, 0);
    r |= write_seed(dir, 1, 1, file, size) | write_seed(dir, 2, 2, file, size);
    in.fd = memory_file(file, size);
    must(!tn_host_elf_read(in.fd, "seed", &elf, &err));
    memcpy(in.head.magic, TN_HOST_MAGIC, sizeof(in.head.magic));
    must(!tn_host_child_start(&in, &child, &err));
    if (tn_host_child_finish(&child, &image, &image_size, &err)) {
        fprintf(stderr, "%s: %s\n", err.reason, err.message);
        return 1;
    }
    r |= write_seed(dir, 3, 0, image, image_size);
    free(image);
    close(in.fd);
    return r;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    if (*argc == 2 && !strncmp((*argv)[1], "-seeds=", 7))
        exit(write_seeds((*argv)[1] + 7));
    return 0;
}
