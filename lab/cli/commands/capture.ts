/** `postern capture`: freeze a QEMU guest and take out what `postern audit` needs. */
import { capture, VIRT_SMMU } from '../../io/capture.ts';
import { type Command, flagArg, numberArg, requiredText, UsageError } from '../command.ts';

export const captureCommand: Command = {
  name: 'capture',
  describe: 'Freeze a running QEMU guest over QMP; save its RAM and the registers of its SMMU for audit',
  options: [
    { flags: '--qmp <socket>', describe: 'QMP socket of the guest (-qmp unix:SOCKET,server=on,wait=off)' },
    { flags: '--smmu <address>', describe: "Address of the SMMU's registers", default: `0x${VIRT_SMMU.toString(16)}` },
    { flags: '-o, --output <dir>', describe: 'Folder to write; must not exist, or be empty' },
    { flags: '--cont', describe: 'Let the guest go on afterwards; otherwise it stays stopped' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: ['postern capture --qmp /run/guest.qmp -o guest && postern audit guest'],
  async run(args, io) {
    const folder = requiredText(args, 'output');
    const smmu = numberArg(args, 'smmu') ?? VIRT_SMMU;
    if (smmu % 0x10000 !== 0)
      throw new UsageError(`--smmu: expected a multiple of 0x10000, got 0x${smmu.toString(16)}`);
    const found = await capture({ socket: requiredText(args, 'qmp'), smmu, folder, resume: flagArg(args, 'cont') });
    if (flagArg(args, 'json')) {
      io.out(`${JSON.stringify({ format: 'postern-capture-result/1', folder, ...found }, null, 2)}\n`);
      return 0;
    }
    const ram = found.ram.map(({ base, size, name }) => `${name} 0x${base.toString(16)}, ${size / 2 ** 20} MiB`);
    io.out(`QEMU ${found.qemu}, SMMU at 0x${smmu.toString(16)} (${found.enabled ? 'on' : 'off'}); ${ram.join('; ')}\n`);
    io.out(`written to ${folder}; the guest ${found.running ? 'runs again' : 'is stopped'}\n`);
    return 0;
  },
};
