//! From the PVH entry (32 bits, no paging) to 64 bits with the first 4 GiB mapped one to one, devices among them. There is no
//! interrupt table: a fault resets the machine, which is an end like any other.

use core::arch::global_asm;

global_asm!(
    r#"
.section .note.pvh, "a"
.align 4
.long 4, 8, 18
.asciz "Xen"
.quad start32

.section .text.start, "ax"
.code32
.globl start32
start32:
    cld
    mov esi, ebx
    mov esp, offset stack_top
    mov eax, offset tables + 0x1000 + 3
    mov [tables], eax
    mov eax, offset tables + 0x2000 + 3
    xor ecx, ecx
2:
    mov [tables + 0x1000 + ecx * 8], eax
    add eax, 0x1000
    inc ecx
    cmp ecx, 4
    jne 2b
    xor ecx, ecx
3:
    mov eax, ecx
    shl eax, 21
    or eax, 0x83
    mov [tables + 0x2000 + ecx * 8], eax
    inc ecx
    cmp ecx, 2048
    jne 3b
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov eax, offset tables
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    and eax, 0xfffffffb
    or eax, 0x80000002
    mov cr0, eax
    lgdt [descriptors_pointer]
    .byte 0xea
    .long start64
    .word 8
.code64
start64:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov edi, esi
    call hostile_main
    hlt

# What the compiler calls and a C library would have.
.globl memcpy
memcpy:
    mov rax, rdi
    mov rcx, rdx
    rep movsb
    ret
.globl memset
memset:
    mov r8, rdi
    mov eax, esi
    mov rcx, rdx
    rep stosb
    mov rax, r8
    ret
.globl bcmp
.globl memcmp
bcmp:
memcmp:
    xor eax, eax
    mov rcx, rdx
    cmp rcx, rcx
    repe cmpsb
    je 2f
    movzx eax, byte ptr [rdi - 1]
    movzx ecx, byte ptr [rsi - 1]
    xchg eax, ecx
    sub eax, ecx
2:  ret

.section .rodata
.align 8
descriptors:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
descriptors_pointer:
    .word 23
    .long descriptors

.section .bss
.align 4096
tables:
    .skip 0x6000
    .skip 0x10000
stack_top:
"#
);
