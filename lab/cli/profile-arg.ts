/** The option `--profile` of every command that runs a hypervisor. */
import { defaultProfile, findProfile, type Profile, profileNames } from '#hypercall-abi';
import { type CommandArgs, type CommandOption, textArg, UsageError } from './command.ts';

export const profileOption: CommandOption = {
  flags: '--profile <name>',
  describe: `Contract between host and hypervisor: ${profileNames.join(', ')} (default: ${defaultProfile.name})`,
};

/** The profile that was asked for, or the default one. @throws UsageError listing those there are */
export function profileArg(args: CommandArgs): Profile {
  const name = textArg(args, 'profile');
  if (name === undefined) return defaultProfile;
  const profile = findProfile(name);
  if (profile === undefined) {
    throw new UsageError(`--profile: expected one of ${profileNames.join(', ')}, got ${JSON.stringify(name)}`);
  }
  return profile;
}
