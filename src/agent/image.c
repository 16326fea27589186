/* SPDX-License-Identifier: MIT */
/* The embedded image is our own build's, but it is read as a file is: every offset checked. */
#include "agent/image.h"

#include <elf.h>
#include <errno.h>
#include <sys/mman.h>

#include "agent/agent.h"
#include "jit/jit.h"
#include "rt/helper/helpers.h"

/* `len` bytes at `off` of the image, or NULL. */
static const void *bytes_at(u64 off, u64 len)
{
    if (off > tn_agent_image_size || len > tn_agent_image_size - off)
        return NULL;
    return tn_agent_image + off;
}

static const Elf64_Ehdr *header(void)
{
    const Elf64_Ehdr *eh = bytes_at(0, sizeof(*eh));

    if (!eh || memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_machine != EM_X86_64 ||
        eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_shentsize != sizeof(Elf64_Shdr))
        return NULL;
    return eh;
}

static const Elf64_Shdr *section(const Elf64_Ehdr *eh, u32 i)
{
    return i < eh->e_shnum ? bytes_at(eh->e_shoff + (u64)i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr)) : NULL;
}

static int add_segment(struct tn_agent_layout *layout, const Elf64_Phdr *ph)
{
    struct tn_agent_segment *seg = &layout->segment[layout->nsegments];

    if (layout->nsegments == TN_AGENT_SEGMENTS || ph->p_vaddr % TN_PAGE || ph->p_memsz < ph->p_filesz ||
        ph->p_memsz > (1u << 20) || ph->p_vaddr > (1u << 20) || !bytes_at(ph->p_offset, ph->p_filesz))
        return -EBADMSG;
    *seg = (struct tn_agent_segment){
        .bytes = tn_agent_image + ph->p_offset,
        .vaddr = ph->p_vaddr,
        .file_size = ph->p_filesz,
        .size = ph->p_memsz,
        .prot = (ph->p_flags & PF_R ? PROT_READ : 0u) | (ph->p_flags & PF_W ? PROT_WRITE : 0u) |
                (ph->p_flags & PF_X ? PROT_EXEC : 0u),
    };
    layout->nsegments++;
    layout->size = TN_MAX(layout->size, TN_ROUND_UP(ph->p_vaddr + ph->p_memsz, (u64)TN_PAGE));
    return 0;
}

int tn_agent_layout(struct tn_agent_layout *ret_layout, struct tn_error *err)
{
    const Elf64_Ehdr *eh = header();
    struct tn_agent_layout layout = {0};

    for (u32 i = 0; eh && i < eh->e_phnum; i++) {
        const Elf64_Phdr *ph = bytes_at(eh->e_phoff + (u64)i * sizeof(*ph), sizeof(*ph));

        if (!ph)
            break;
        if (ph->p_type == PT_LOAD && ph->p_memsz && add_segment(&layout, ph) < 0) {
            layout.nsegments = 0;
            break;
        }
    }
    if (!layout.nsegments)
        return tn_fail(err, -EBADMSG, "agent_image",
                       "the agent image built into this program is damaged: rebuild");
    *ret_layout = layout;
    return 0;
}

int tn_agent_export(const char *name, u64 *ret_offset)
{
    const Elf64_Ehdr *eh = header();
    const Elf64_Shdr *symtab = NULL, *strtab;
    const Elf64_Sym *sym;
    const char *names;

    for (u32 i = 0; eh && i < eh->e_shnum; i++) {
        const Elf64_Shdr *sh = section(eh, i);

        if (sh && sh->sh_type == SHT_SYMTAB)
            symtab = sh;
    }
    strtab = symtab ? section(eh, symtab->sh_link) : NULL;
    sym = symtab ? bytes_at(symtab->sh_offset, symtab->sh_size) : NULL;
    names = strtab ? bytes_at(strtab->sh_offset, strtab->sh_size) : NULL;
    if (!sym || !names || !strtab->sh_size || names[strtab->sh_size - 1])
        return -ENOENT;

    for (u64 i = 0; i < symtab->sh_size / sizeof(*sym); i++) {
        if (ELF64_ST_TYPE(sym[i].st_info) != STT_FUNC || sym[i].st_name >= strtab->sh_size ||
            strcmp(names + sym[i].st_name, name))
            continue;
        *ret_offset = sym[i].st_value;
        return 0;
    }
    return -ENOENT;
}

int tn_agent_helper(u32 id, u64 *ret_offset)
{
    const struct tn_helper *helper = tn_helper_by_id(id);
    char name[64];

    if (!helper)
        return -ENOENT;
    snprintf(name, sizeof(name), "tn_helper_%s", helper->name);
    return tn_agent_export(name, ret_offset);
}

int tn_agent_routine(u32 index, bool at_entry, u64 *ret_offset)
{
    static const char *const names[] = {
        [TN_ROUTINE_READ] = "tn_agent_read",
        [TN_ROUTINE_COPY] = "tn_agent_copy",
        [TN_ROUTINE_COPY_CAREFUL] = "tn_agent_copy_careful",
        [TN_ROUTINE_COPY_PROMISED] = "tn_agent_copy_promised",
    };

    if (index == TN_ROUTINE_CALL)
        return tn_agent_export(at_entry ? "tn_agent_call_entry" : "tn_agent_call_full", ret_offset);
    return index < TN_ARRAY_SIZE(names) && names[index] ? tn_agent_export(names[index], ret_offset) : -ENOENT;
}
