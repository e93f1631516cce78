/** The profiles there are, and the default one. */

import type { ArgumentUnit, CallName, CallSpec } from '../calls.ts';
import { android16 } from './android16.ts';
import { android17 } from './android17.ts';
import type { Profile, ProfileName } from './profile.ts';
import { rfcV1 } from './rfc-v1.ts';
import { rfcV2 } from './rfc-v2.ts';

export { android16 } from './android16.ts';
export { android17 } from './android17.ts';
export {
  type DomainTypes,
  type PageStates,
  Profile,
  type ProfileData,
  type ProfileName,
  type RequestStyle,
} from './profile.ts';
export { rfcV1 } from './rfc-v1.ts';
export { rfcV2 } from './rfc-v2.ts';

/** Every profile, the default one first. */
export const profiles: readonly Profile[] = [android17, android16, rfcV2, rfcV1];

/** What is meant where nobody names a profile. */
export const defaultProfile: Profile = android17;

/** The profile of that name, if there is one. */
export function findProfile(name: string): Profile | undefined {
  return profiles.find((profile) => profile.name === name);
}

/** The names of all profiles, for messages. */
export const profileNames: readonly ProfileName[] = profiles.map(({ name }) => name);

/** The calls of the default profile. */
export const calls: readonly CallSpec[] = defaultProfile.calls;

/** The call of that name in the default profile. @throws RangeError naming the calls there are */
export function callNamed(name: string): CallSpec {
  return defaultProfile.call(name);
}

/** Whether the default profile has a call of that name. */
export function isCallName(name: string): name is CallName {
  return defaultProfile.has(name);
}

/** The call of the default profile at that position of the function-id space, if there is one. */
export function callAt(position: number): CallSpec | undefined {
  return defaultProfile.at(position);
}

/** The domain types of the default profile. */
export const DomainType = defaultProfile.domainTypes;

/** What an argument of a call means, in whichever profiles have it; undefined for one that none has. */
export function unitOf(call: CallName, argument: string): ArgumentUnit | undefined {
  for (const profile of profiles) {
    const found = profile.has(call) ? profile.call(call).args.find(({ name }) => name === argument) : undefined;
    if (found !== undefined) return found.unit;
  }
  return undefined;
}
