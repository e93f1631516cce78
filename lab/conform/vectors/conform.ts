/** Vector files by their `format`: facts that upstream code produced, each compared with what this project does. */
import { InputError, quoted } from '../../input-error.ts';
import { type ConformReport, count, reportOf } from '../report.ts';
import { Tally } from '../tally.ts';
import { step, type Watch } from '../watch.ts';
import { checkConfig, checkSequence } from './lpae.ts';
import { CONFIGS, SEQUENCES } from './lpae-shapes.ts';
import { checkPageSize, PGSIZE } from './pgsize.ts';
import { checkShape, list, record, type Shape } from './shape.ts';
import { COMMANDS, checkCommand } from './smmu-commands.ts';
import { checkEntry, checkLevel1, ENTRIES } from './smmu-entries.ts';
import { ARRAY_STEPS, checkArray, checkInvalidation, INVALIDATION } from './smmu-invalidation.ts';
import { checkUserCommand, checkVirtualSte, NESTING } from './smmu-nesting.ts';
import { checkTransition, KUNIT_CASE, TRANSITION } from './smmu-transitions.ts';

// biome-ignore lint/suspicious/noExplicitAny: `shape` has checked the document before `work` sees it
type Document = any;

/** One piece of work: a sequence, a case. */
type Piece = (tally: Tally) => void;

interface Format {
  readonly title: string;
  readonly shape: Shape;
  readonly work: (document: Document) => Piece[];
}

function each<T>(items: readonly T[], piece: (item: T, i: number, tally: Tally) => void): Piece[] {
  return items.map((item, i) => (tally) => piece(item, i, tally));
}

const formats: Readonly<Record<string, Format>> = {
  'arm-lpae-vectors': {
    title: 'sequences of page-table operations',
    shape: SEQUENCES,
    work: ({ profile, sequences }) =>
      each<Document>(sequences, (item, _, tally) => checkSequence(item, profile, tally)),
  },
  'arm-lpae-configs': {
    title: 'page-table configurations',
    shape: CONFIGS,
    work: ({ profile, cases }) => each<Document>(cases, (item, i, tally) => checkConfig(item, i, profile, tally)),
  },
  'iommu-pgsize': {
    title: 'page sizes that the IOMMU core picks',
    shape: PGSIZE,
    work: ({ cases }) => each(cases, checkPageSize),
  },
  'smmuv3-commands': {
    title: 'commands that the SMMUv3 driver builds',
    shape: COMMANDS,
    work: ({ commands }) => each(commands, checkCommand),
  },
  'smmuv3-entries': {
    title: 'stream table entries and context descriptors that the SMMUv3 driver makes',
    shape: ENTRIES,
    work: ({ ste, cd, l1 }) => [
      ...each<Document>(ste, (item, i, tally) => checkEntry('ste', item, i, tally)),
      ...each<Document>(cd, (item, i, tally) => checkEntry('cd', item, i, tally)),
      ...each(l1, checkLevel1),
    ],
  },
  'smmuv3-transitions': {
    title: 'live updates of entries by the SMMUv3 driver',
    shape: record({ transitions: list(TRANSITION) }),
    work: ({ transitions }) =>
      each<Document>(transitions, (item, i, tally) =>
        checkTransition(item, `transitions[${i}]`, 'live updates', tally),
      ),
  },
  'smmuv3-kunit': {
    title: 'the cases of the SMMUv3 driver’s KUnit suite',
    shape: record({ cases: list(KUNIT_CASE), invs: ARRAY_STEPS }),
    work: ({ cases, invs }) => [
      ...each<Document>(cases, (item, i, tally) => checkTransition(item, `cases[${i}]`, 'live updates', tally)),
      (tally) => checkArray(invs, 'invs', tally),
    ],
  },
  'smmuv3-invalidation': {
    title: 'invalidations that the SMMUv3 driver sends',
    shape: INVALIDATION,
    work: ({ domain_inv, invs_algebra }) => [
      ...each(domain_inv, checkInvalidation),
      ...each<Document>(invs_algebra, ({ id, steps }, i, tally) => {
        checkArray(steps, `invs_algebra[${i}] ${id}, steps`, tally);
      }),
    ],
  },
  'smmuv3-nesting': {
    title: 'what guests hand to the SMMUv3 driver',
    shape: NESTING,
    work: ({ vste, user_cmd }) => [...each(vste, checkVirtualSte), ...each(user_cmd, checkUserCommand)],
  },
};

/** The formats that can be compared. */
export const VECTOR_FORMATS: readonly string[] = Object.keys(formats);

/**
 * Compares a vector file with this project.
 * @param text the JSON document @param most how many differences to keep in full
 * @throws InputError naming file and field, also for a format that is not supported
 */
export async function conformVectors(
  text: string,
  file: string,
  most: number,
  watch: Watch = {},
): Promise<ConformReport> {
  const document = parseJson(text, file);
  checkShape(record({}), document, file);
  const { format, version, profile, provenance } = document;
  if (typeof format !== 'string' || !Object.hasOwn(formats, format)) {
    const expected = `a supported format (${VECTOR_FORMATS.join(', ')})`;
    const got = typeof format === 'string' ? `${quoted(format)}: not supported` : undefined;
    throw new InputError({ file, field: 'format', expected, got: got ?? 'no such text' });
  }
  if (version !== 1) throw new InputError({ file, field: 'version', expected: '1', got: JSON.stringify(version) });
  const { title, shape, work } = formats[format]!;
  checkShape(shape, document, file);
  const tally = new Tally(most);
  const pieces = work(document);
  let interrupted = false;
  for (const [done, piece] of pieces.entries()) {
    if (done % EVERY[format === 'arm-lpae-vectors' ? 'sequence' : 'case'] === 0) {
      interrupted = await step(watch, done, pieces.length);
      if (interrupted) break;
    }
    piece(tally);
  }
  if (!interrupted) watch.onProgress?.(pieces.length, pieces.length);
  const of = typeof profile === 'string' ? `, profile ${profile}` : '';
  const notes = typeof provenance === 'string' ? [{ name: 'provenance', text: provenance }] : [];
  return reportOf(tally, {
    kind: 'vectors',
    files: [file],
    title: `${format}${of}: ${title}, ${count(pieces.length)} pieces`,
    notes,
    numbers: { format, ...(typeof profile === 'string' ? { profile } : {}), pieces: pieces.length },
    interrupted,
  });
}

/** How many pieces between two looks at the screen. */
const EVERY = { sequence: 1, case: 256 } as const;

function parseJson(text: string, file: string): Document {
  try {
    return JSON.parse(text);
  } catch (error) {
    const got = error instanceof Error ? error.message : String(error);
    throw new InputError({ file, expected: 'a JSON document', got });
  }
}
