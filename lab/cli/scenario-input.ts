/** A scenario as a user hands it in: as text from a file or standard input, or as a share string. */
import { type Placement, parseScenarioLines } from '../scenario/index.ts';
import { decodeShare } from '../scenario/share.ts';
import type { Scenario } from '../scenario/types.ts';

/** A scenario as it was handed in. */
export type ScenarioInput = { readonly share: string } | { readonly text: string; readonly file: string };

/** The scenario, and where its steps stand for messages. @throws InputError */
export function readScenario(input: ScenarioInput): { readonly scenario: Scenario; readonly placement: Placement } {
  if ('share' in input) return { scenario: decodeShare(input.share), placement: { file: 'share string' } };
  const { scenario, lines } = parseScenarioLines(input.text, input.file);
  return { scenario, placement: { file: input.file, lines } };
}
