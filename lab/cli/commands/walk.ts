/** `postern walk`: explain one access of a device, over a captured machine or over the model. */
import { parseFixture } from '../../fixture/parse.ts';
import { displayName, readText } from '../../io/read-text.ts';
import { holdsMemory, openSnapshot } from '../../io/snapshot.ts';
import { writeText } from '../../io/write-text.ts';
import { SCENARIO_MAGIC, SHARE_PREFIX } from '../../scenario/format.ts';
import { renderSvg } from '../../views/svg.ts';
import { walkView } from '../../views/walk-view.ts';
import { renderWalk, walkDocument } from '../../walk/render.ts';
import { type WalkSource, walkSource } from '../../walk/source.ts';
import { presentStreams } from '../../walk/stream.ts';
import { walkAccess } from '../../walk/walk.ts';
import {
  type CliIo,
  type Command,
  type CommandArgs,
  flagArg,
  requiredNumber,
  requiredText,
  textArg,
  UsageError,
} from '../command.ts';
import { walkStyle } from '../style.ts';
import { walkScenario } from './walk-scenario.ts';

export const walkCommand: Command = {
  name: 'walk <input>',
  describe:
    'Explain one device access: over a captured folder, fixture, ELF core or RAM@BASE, or over a scenario or share string',
  options: [
    { flags: '--sid <stream>', describe: 'Stream ID of the device' },
    { flags: '--device <name>', describe: 'The device by its name, in a scenario' },
    { flags: '--iova <address>', describe: 'Address that the device uses' },
    { flags: '--write', describe: 'Explain a write instead of a read' },
    { flags: '--at <step>', describe: 'Stop a scenario behind that step (0: after boot), or inside it, as in 6.2' },
    { flags: '--regs <file>', describe: 'Registers of the SMMU, JSON by name; needed for ELF cores and images of RAM' },
    { flags: '--svg <file>', describe: 'Write a drawing of it' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: [
    'postern walk test/fixtures/rig/strict-all.json.gz --sid 0x10 --iova 0xffffc000 --svg walk.svg',
    'postern walk finding.scenario --device disk --iova 0x1000 --at 6.2',
  ],
  async run(args, io) {
    const path = requiredText(args, 'input');
    if (path.startsWith(SHARE_PREFIX)) return walkScenario({ share: path }, args, io);
    const file = displayName(path);
    const regs = textArg(args, 'regs');
    if (holdsMemory(path)) {
      noScenario(file, args);
      const snapshot = await openSnapshot(path, regs);
      try {
        return await walkFrozen(snapshot.source, file, args, io);
      } finally {
        snapshot.close();
      }
    }
    if (regs !== undefined) throw new UsageError(`--regs is for memory without registers: ${file} is none`);
    const text = await readText(path);
    if (text.startsWith(SCENARIO_MAGIC)) return walkScenario({ text, file }, args, io);
    noScenario(file, args);
    return walkFrozen(walkSource(parseFixture(text, file)), file, args, io);
  },
};

function noScenario(file: string, args: CommandArgs): void {
  for (const option of ['device', 'at']) {
    if (textArg(args, option) !== undefined) throw new UsageError(`--${option} is for a scenario: ${file} is none`);
  }
}

async function walkFrozen(source: WalkSource, file: string, args: CommandArgs, io: CliIo): Promise<number> {
  const sid = requiredNumber(args, 'sid');
  const iova = requiredNumber(args, 'iova');
  const present = presentStreams(source);
  if (!present.includes(sid)) {
    const list = present.map((stream) => `0x${stream.toString(16)}`).join(', ');
    throw new UsageError(`--sid: there is no stream 0x${sid.toString(16)} in ${file}; it has ${list || 'none'}`);
  }
  const walk = walkAccess(source, sid, iova, flagArg(args, 'write'));
  const svg = textArg(args, 'svg');
  if (svg !== undefined) await writeText(svg, renderSvg(walkView(walk)));
  io.out(
    flagArg(args, 'json')
      ? `${JSON.stringify(walkDocument(walk), null, 2)}\n`
      : renderWalk(walk, io.columns, walkStyle(io)),
  );
  return 0;
}
