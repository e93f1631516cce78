/** What the values of fields stand for, where several fields share an encoding. */

export const ON_OFF = { 0: 'off', 1: 'on' } as const;
export const CACHEABILITY = { 0: 'non-cacheable', 1: 'write-back', 2: 'write-through', 3: 'write-back, no allocate' };
export const SHAREABILITY = { 0: 'none', 1: 'reserved', 2: 'outer', 3: 'inner' } as const;
export const ENDIANNESS = { 0: 'little', 1: 'big' } as const;
/** Bits of address that IPS and S2PS select. */
export const ADDRESS_SIZES = {
  0: '32 bits',
  1: '36 bits',
  2: '40 bits',
  3: '42 bits',
  4: '44 bits',
  5: '48 bits',
  6: '52 bits',
  7: '56 bits',
} as const;
/** TG0 and S2TG. TG1 counts differently, and so do commands. */
export const GRANULES = { 0: '4K', 1: '64K', 2: '16K', 3: 'reserved' } as const;
/** An attribute that is taken from the transaction, or replaced. */
export const INCOMING = { 0: 'incoming', 1: 'incoming' } as const;
