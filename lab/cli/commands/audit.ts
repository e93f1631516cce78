/** `postern audit`: what the devices of a real machine can reach, and whether that is too much. */
import { audit } from '../../audit/audit.ts';
import { auditDocument, renderAudit } from '../../audit/render.ts';
import { openSnapshot } from '../../io/snapshot.ts';
import { type Command, type CommandArgs, flagArg, requiredText, textArg, UsageError } from '../command.ts';

export const auditCommand: Command = {
  name: 'audit <input>',
  describe: 'What each device of a frozen machine can reach: a captured folder, fixture, ELF core, or RAM@BASE',
  options: [
    { flags: '--regs <file>', describe: 'Registers of the SMMU, JSON by name; needed for ELF cores and images of RAM' },
    {
      flags: '--protect <range>',
      describe: 'START-END=NAME, end exclusive: memory that no device may reach; may be given several times',
    },
    { flags: '--all', describe: 'List every range and every violation' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern audit test/fixtures/rig/strict-all.json.gz --protect 0x40000000-0x40200000=firmware',
    'postern audit ram.bin@0x40000000 --regs registers.json --json',
  ],
  async run(args, io) {
    const subject = requiredText(args, 'input');
    const protect = protectedRanges(args);
    const snapshot = await openSnapshot(subject, textArg(args, 'regs'));
    try {
      const { source, registers, smmuBase, names } = snapshot;
      const report = audit(source, { subject, registers, protect, smmuBase, names });
      if (flagArg(args, 'json')) io.out(`${JSON.stringify(auditDocument(report), null, 2)}\n`);
      else io.out(renderAudit(report, flagArg(args, 'all') ? Number.POSITIVE_INFINITY : undefined));
      if (report.violations.length > 0) return 1;
      return report.gaps.length > 0 ? 3 : 0;
    } finally {
      snapshot.close();
    }
  },
};

/** The ranges of `--protect`. @throws UsageError */
function protectedRanges(args: CommandArgs): { name: string; start: number; end: number }[] {
  const given = args.protect === undefined ? [] : Array.isArray(args.protect) ? args.protect : [args.protect];
  return given.map((text: unknown) => {
    const parts = /^(0x[0-9a-f]+|\d+)-(0x[0-9a-f]+|\d+)(?:=(.+))?$/i.exec(String(text));
    if (parts === null) {
      throw new UsageError(`--protect: expected START-END=NAME such as 0x40000000-0x40200000=firmware, got ${text}`);
    }
    const start = Number(parts[1]);
    const end = Number(parts[2]);
    if (start >= end || end > 2 ** 52) throw new UsageError(`--protect: expected START below END, got ${text}`);
    return { name: parts[3] ?? 'protected', start, end };
  });
}
