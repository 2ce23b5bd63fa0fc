const biosBytes = 65_536;
const entry = 0xff00;
const resetVector = 0xfff0;

/**
 * A firmware of 50 bytes: for each byte that comes in by the first serial port it answers with the time stamp counter,
 * 8 bytes, low first. 16-bit code; the processor starts at F000:FFF0.
 */
export function tscBios(): Buffer {
  const code = [
    // start: wait for a byte (line status, bit 0)
    [0xba, 0xfd, 0x03], // mov dx, 3fdh
    [0xec], // in al, dx
    [0xa8, 0x01], // test al, 1
    [0x74, 0xfb], // jz -5
    [0xba, 0xf8, 0x03], // mov dx, 3f8h
    [0xec], // in al, dx
    [0x0f, 0x31], // rdtsc
    [0x66, 0x89, 0xc3], // mov ebx, eax
    [0x66, 0x89, 0xd6], // mov esi, edx
    [0xb9, 0x08, 0x00], // mov cx, 8
    // next: wait until a byte can go (bit 5)
    [0xba, 0xfd, 0x03],
    [0xec],
    [0xa8, 0x20],
    [0x74, 0xfb],
    [0x88, 0xd8], // mov al, bl
    [0xba, 0xf8, 0x03],
    [0xee], // out dx, al
    [0x66, 0x0f, 0xac, 0xf3, 0x08], // shrd ebx, esi, 8
    [0x66, 0xc1, 0xee, 0x08], // shr esi, 8
    [0xe2, 0xe7], // loop next (-25)
    [0xeb, 0xce], // jmp start (-50)
  ].flat();
  const bios = Buffer.alloc(biosBytes, 0xf4);
  bios.set(code, entry);
  bios.set([0xea, 0x00, 0xff, 0x00, 0xf0], resetVector); // jmp F000:FF00
  return bios;
}
