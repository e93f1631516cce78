/** The part of `postern walk` that runs a scenario up to a point and explains an access over the model machine there. */
import { type Machine, preset } from '#machine';
import { InputError } from '../../input-error.ts';
import { writeText } from '../../io/write-text.ts';
import { lookAt, type Point } from '../../narrator/record.ts';
import { checkFits, type Placement } from '../../scenario/check.ts';
import { CannotDo, type Scenario } from '../../scenario/index.ts';
import { modelWalkView, OWNER_NAMES, ownerAt, renderSvg } from '../../views/index.ts';
import { explainAccess, type ModelAccess, type ModelWalk } from '../../walk/model.ts';
import { modelWalkDocument, renderModelWalk } from '../../walk/model-render.ts';
import { hypervisorByIdentity } from '../../zoo/index.ts';
import { type CliIo, type CommandArgs, flagArg, numberArg, requiredNumber, textArg, UsageError } from '../command.ts';
import { readScenario, type ScenarioInput } from '../scenario-input.ts';
import { walkStyle } from '../style.ts';

/** @returns 0: explaining finds nothing wrong by itself */
export async function walkScenario(input: ScenarioInput, args: CommandArgs, io: CliIo): Promise<number> {
  const { scenario, placement } = readScenario(input);
  const access = accessOf(scenario, args, placement);
  const point = pointOf(scenario, args);
  const model = explained(scenario, point, access, placement);
  const where = placeName(scenario, point);
  const svg = textArg(args, 'svg');
  if (svg !== undefined) await writeText(svg, renderSvg(modelWalkView(model, { where })));
  if (flagArg(args, 'json')) {
    const { hypervisor, machine, title = null } = scenario;
    const header = { schema: 'postern/model-walk/0', scenario: title, hypervisor, machine, at: point };
    io.out(`${JSON.stringify({ ...header, ...modelWalkDocument(model) }, null, 2)}\n`);
    return 0;
  }
  io.out(`${scenario.machine}, hypervisor ${scenario.hypervisor}, ${where}: ${model.device}\n`);
  io.out(renderModelWalk(model, io.columns, walkStyle(io)));
  return 0;
}

function machineOf({ machine }: Scenario, { file = 'scenario' }: Placement) {
  try {
    return preset(machine);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new InputError({ file, field: 'machine', expected: error.message.replace(/^.*expected /, ''), got: machine });
  }
}

/** The access that the options ask about. @throws UsageError listing the devices there are */
function accessOf(scenario: Scenario, args: CommandArgs, placement: Placement): ModelAccess {
  const { devices, smmus, name: machine } = machineOf(scenario, placement);
  const name = textArg(args, 'device');
  const sid = numberArg(args, 'sid');
  if (name === undefined && sid === undefined) throw new UsageError('--device or --sid is missing');
  if (name !== undefined && sid !== undefined) throw new UsageError('--device and --sid are given: one is enough');
  const device = devices.find((each) => each.name === name || each.sid === sid);
  if (device === undefined) {
    const known = devices.map((each) => `${each.name} (0x${each.sid.toString(16)})`).join(', ');
    const asked =
      name === undefined ? `--sid: there is no stream 0x${sid!.toString(16)}` : `--device: there is no ${name}`;
    throw new UsageError(`${asked} on ${machine}; it has ${known || 'none'}`);
  }
  const smmu = smmus.findIndex((each) => each.name === device.smmu);
  return { smmu, sid: device.sid, iova: requiredNumber(args, 'iova'), write: flagArg(args, 'write') };
}

/** The point that `--at` names: `6` behind step 6, `6.2` behind the second thing that happens inside it. */
function pointOf({ steps }: Scenario, args: CommandArgs): Point {
  const count = steps.filter(({ kind }) => kind !== 'expect').length;
  const text = textArg(args, 'at');
  if (text === undefined) return { step: count, moment: null };
  const [, step, moment] = /^(\d{1,6})(?:\.(\d{1,6}))?$/.exec(text) ?? [];
  const valid = step !== undefined && Number(step) <= count && (moment === undefined || Number(step) > 0);
  if (!valid) {
    throw new UsageError(`--at: expected a step from 0 to ${count}, or a moment in one such as 1.2, got ${text}`);
  }
  return { step: Number(step), moment: moment === undefined ? null : Number(moment) };
}

function explained(scenario: Scenario, point: Point, access: ModelAccess, placement: Placement): ModelWalk {
  checkFits(scenario, machineOf(scenario, placement), placement);
  const hypervisor = hypervisorByIdentity(scenario.hypervisor);
  let model: ModelWalk | null;
  try {
    model = lookAt(scenario, hypervisor, point, ({ session, nameOf }) =>
      explainAccess(session.machine, access, (pa) => placeOf(session.machine, nameOf, pa)),
    );
  } catch (error) {
    if (!(error instanceof CannotDo)) throw error;
    const { file = 'scenario' } = placement;
    throw new InputError({ file, expected: 'steps that the machine can do', got: error.message });
  }
  if (model === null) {
    throw new UsageError(`--at: step ${point.step} has no moment ${point.moment}; replay --svg shows which it has`);
  }
  return model;
}

/** What is at a physical address: a page and its owner, or what else answers there. */
function placeOf(machine: Machine, nameOf: (pa: number) => string, pa: number): string {
  const owner = ownerAt(machine, pa);
  if (owner !== null) return `${nameOf(pa)}, ${OWNER_NAMES[owner]}`;
  const range = machine.description.mmio.find(({ base, size }) => pa >= base && pa < base + size);
  return range === undefined ? 'no memory' : `registers of ${range.name}`;
}

function placeName({ title }: Scenario, { step, moment }: Point): string {
  const of = title === undefined ? '' : ` of "${title}"`;
  if (moment !== null) return `in the middle of step ${step}, at ${step}.${moment}${of}`;
  return step === 0 ? `behind boot${of}` : `behind step ${step}${of}`;
}
