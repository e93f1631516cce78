/** docs/zoo.md: what the zoo is, and all its cards. */

import type { DefectCard } from './card.ts';
import { cards } from './cards/index.ts';
import { outOfScope } from './out-of-scope.ts';
import { scenarioText } from './scenario.ts';

const INTRODUCTION = `# The zoo

Real defects of the published drivers, put into the correct hypervisor one at a time: so that an oracle or an engine can
be asked whether it sees them, and so that one can be looked at in peace. The hypervisor itself has no switches for them.
A defect is a card (\`lab/zoo/cards\`): where it comes from, what it breaks, what an attacker gains by it, and an edit of
the source, as lines of one function and the lines that take their place. The edits are applied to the sources at run
time; \`postern+Z14\` is the hypervisor with defect Z14, wherever a hypervisor can be named. Several are joined by \`+\`.

\`\`\`
postern zoo list                                    all cards
postern zoo show Z14                                one: its story, the change of the source, its scenario
postern zoo show Z14 --scenario > z14.txt           its scenario alone, to be replayed
postern replay z14.txt
postern zoo --cards Z14,Z23                         which engines find these, by which property, and how soon
postern zoo --html matrix.html                      the same for all of them
postern zoo --seeds 20 --csv raw.csv                many seeds; may be interrupted, and goes on from the file
\`\`\`

Numbers are those of this project's list of published defects. Where one row of that list is several defects, they have
letters. Where the line that was wrong upstream has no counterpart here, the defect is put where this code has the same
duty, and the card says so. Where only the title of a commit is known, the card says that how it went wrong is inferred.

## Which kinds there are

| Kind | Defect |
| --- | --- |
| CVE | a published vulnerability |
| FIX | repaired by a published commit |
| DIFF | wrong in one published version, right in a later one |
| SRC | read in one published version, no repair seen |
| CLS | of a class that is known to happen |

## The matrix

\`postern zoo\` lets every engine hunt every defect. An engine is given the card's profile and machine, and a CPU budget
for each hunt; a hunt ends at the first violation of any property, which need not be the property that the card names.
CPU time is that of the hunting thread, shrinking left out. A hunt that ends with its budget is censored: it counts as
longer than any that found something. Over several seeds a cell has the median, and the interval between the order
statistics that enclose it with 95 percent confidence. The exit code is 3 when a hunt found nothing.

## Defects that nobody thought of

\`npm run mutants\` (for developers) has Stryker's instrumenter make mutants of \`hyp\`: an operator exchanged, a condition
made constant, a block emptied. Of a sample that nobody had looked at before the lab detected 85 of 95, 89 percent, and of the
one by whose survivors checks and inputs were written 93 of 108, 86 percent (2026-11-21). How, and why each of the others
survives: [mutants.md](mutants.md).

`;

/** The text of docs/zoo.md. */
export function renderZooPage(): string {
  return `${INTRODUCTION}## Cards\n\n${cards.map(cardText).join('\n')}\n## Not in the zoo\n\n${outsideText()}`;
}

function cardText(card: DefectCard): string {
  const { id, title, kind, upstream, breaks, attack, profile, machine, cpus, property } = card;
  const origin = [kind, ...(upstream.cve === undefined ? [] : [upstream.cve]), ...upstream.commits].join(', ');
  const where = `${profile}, ${machine}, ${cpus} CPU${cpus === 1 ? '' : 's'}`;
  return `### ${id}: ${title}

${origin} · ${where} · reported by \`${property}\`

${upstream.reference}

*Breaks:* ${breaks} *Attack:* ${attack}

\`\`\`scenario
${scenarioText(id)}\`\`\`
`;
}

function outsideText(): string {
  const rows = outOfScope.map(
    ({ id, title, cves, reason }) => `| ${id} | ${[title, ...cves].join(', ')} | ${reason} |`,
  );
  return `| Defect | What | Why not |\n| --- | --- | --- |\n${rows.join('\n')}\n`;
}
