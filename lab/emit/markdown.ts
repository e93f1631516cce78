/** A scenario as a story in Markdown: for an issue, a mail, a page of notes. */
import type { Story } from '../narrator/index.ts';
import { encodeShare, printScenario, type Scenario } from '../scenario/index.ts';

/** The story of a scenario, with the scenario itself at the end. */
export function storyMarkdown(scenario: Scenario, story: Story): string {
  const lines = [
    `# ${plain(story.title)}`,
    '',
    `Machine ${scenario.machine}, profile ${scenario.profile}, hypervisor ${scenario.hypervisor}.`,
    '',
  ];
  for (const { number, text, sentence, details, violations } of story.steps) {
    lines.push(`${number}. ${plain(sentence)}`, '', `   \`${text}\``, '');
    for (const detail of details) lines.push(`   - ${plain(detail)}`);
    for (const { property, text: why } of violations) lines.push(`   - **Violation of ${property}:** ${plain(why)}`);
    if (details.length + violations.length > 0) lines.push('');
  }
  const count = story.violations.length;
  lines.push(count === 0 ? 'Nothing is violated.' : `Violations: ${count}.`, '');
  lines.push(
    '## The scenario',
    '',
    '```scenario',
    printScenario(scenario).trimEnd(),
    '```',
    '',
    'As a string:',
    '',
    '```',
    encodeShare(scenario),
    '```',
    '',
  );
  return lines.join('\n');
}

/** Text that Markdown takes for nothing else. */
function plain(text: string): string {
  return text.replace(/[\\`*_<>[\]]/g, (letter) => `\\${letter}`);
}
