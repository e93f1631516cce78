/** The error codes of this room, as the negative numbers that its functions return. */
export const Errno = {
  /** No memory for a table. */
  ENOMEM: -12,
  /** Something is mapped there already. */
  EEXIST: -17,
  /** A configuration, page size or protection that cannot be had. */
  EINVAL: -22,
  /** An address outside the input or the output range. */
  ERANGE: -34,
} as const;
