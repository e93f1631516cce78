/** The entry of each profile: from registers to the parts of the hypervisor, and back. */

import type { Profile, ProfileName } from '#hypercall-abi';
import type { Steps } from '#machine';
import type { Hyp } from '../context.ts';
import { enterAndroid16 } from './android16.ts';
import { enterAndroid17 } from './android17.ts';
import { enterRfcV1 } from './rfc-v1.ts';
import { enterRfcV2 } from './rfc-v2.ts';

/** Serves the hypercall in h.x. */
export type Entry = (h: Hyp) => Steps<void>;

const entries: Readonly<Record<ProfileName, Entry>> = {
  android17: enterAndroid17,
  android16: enterAndroid16,
  'rfc-v2': enterRfcV2,
  'rfc-v1': enterRfcV1,
};

/** The entry that keeps the contract of a profile. */
export function entryOf(profile: Profile): Entry {
  return entries[profile.name];
}
