/** From access bits of descriptors to what a device may do. */
import { Access } from '../oracle/decode/descriptor.ts';
import type { Rights } from './types.ts';

/** Rights to everything: what passes untranslated. */
export const ALL_RIGHTS: Rights = { read: true, write: true, execute: true, privileged: false };

const known = new Map<number, Rights | null>();

/**
 * The rights that `access` gives to a stream with this PRIVCFG (2 makes its accesses unprivileged, 3 privileged; other
 * values leave it to the device, which may then choose the better one). Null when it can neither read nor write.
 */
export function rightsOf(access: number, privCfg: number): Rights | null {
  const key = (access & 63) | (privCfg << 6);
  let rights = known.get(key);
  if (rights === undefined) {
    rights = decide(access, privCfg);
    known.set(key, rights);
  }
  return rights;
}

function decide(access: number, privCfg: number): Rights | null {
  const may = (bit: number): boolean => (access & bit) !== 0;
  const plain = { read: may(Access.read), write: may(Access.write), execute: may(Access.execute) };
  const better = {
    read: may(Access.privilegedRead),
    write: may(Access.privilegedWrite),
    execute: may(Access.privilegedExecute),
  };
  if (privCfg === 2) return plain.read || plain.write ? { ...plain, privileged: false } : null;
  if (!plain.read && !plain.write && !better.read && !better.write) return null;
  const onlyPrivileged = privCfg !== 3 && ((better.read && !plain.read) || (better.write && !plain.write));
  if (privCfg === 3) return better.read || better.write ? { ...better, privileged: false } : null;
  return onlyPrivileged
    ? { ...better, privileged: true }
    : { ...plain, execute: plain.execute || better.execute, privileged: false };
}

/** `rwx`, with dashes for what is missing. */
export function rightsText({ read, write, execute, privileged }: Rights): string {
  return `${read ? 'r' : '-'}${write ? 'w' : '-'}${execute ? 'x' : '-'}${privileged ? ' (privileged)' : ''}`;
}

/** Do the same accesses pass? */
export function sameRights(a: Rights, b: Rights): boolean {
  return (
    a === b || (a.read === b.read && a.write === b.write && a.execute === b.execute && a.privileged === b.privileged)
  );
}
