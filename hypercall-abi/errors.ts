/**
 * The numbers that cross the boundary as results: Linux errno values (negative in a return register) and the SMCCC
 * status of x0. Values are those of the generic Linux errno tables and of the SMC calling convention.
 */

export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  E2BIG: 7,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ERANGE: 34,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
} as const;

export type ErrnoName = keyof typeof Errno;

const names = new Map<number, ErrnoName>(Object.entries(Errno).map(([name, value]) => [value, name as ErrnoName]));

/** `-EINVAL` for -22; the plain number for anything that is no known negative errno. */
export function errnoName(result: number): string {
  const name = result < 0 ? names.get(-result) : undefined;
  return name === undefined ? String(result) : `-${name}`;
}

/** x0 of a hypercall: the SMC calling convention's own status. */
export const SmcccStatus = { success: 0, notSupported: -1 } as const;
