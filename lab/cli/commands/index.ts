/** Every command, in the order in which `--help` lists them. */
import type { Command } from '../command.ts';
import { auditCommand } from './audit.ts';
import { captureCommand } from './capture.ts';
import { conformCommand } from './conform.ts';
import { corpusCommand } from './corpus.ts';
import { demoCommand } from './demo.ts';
import { fuzzCommand } from './fuzz.ts';
import { replayCommand } from './replay.ts';
import { shrinkCommand } from './shrink.ts';
import { soakCommand } from './soak.ts';
import { walkCommand } from './walk.ts';
import { zooCommand } from './zoo.ts';

export const commands: readonly Command[] = [
  demoCommand,
  fuzzCommand,
  shrinkCommand,
  corpusCommand,
  replayCommand,
  walkCommand,
  auditCommand,
  conformCommand,
  captureCommand,
  soakCommand,
  zooCommand,
];
