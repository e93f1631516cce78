#!/usr/bin/env node
/** The `postern` program: its process. Everything else is in `run.ts` and `commands/`. */
import project from '../../package.json' with { type: 'json' };
import { endWhenOutputCloses } from '../io/closed-output.ts';
import { tuneEngine } from '../io/engine.ts';
import type { CliIo } from './command.ts';
import { commands } from './commands/index.ts';
import { runCommandLine } from './run.ts';

const INTERRUPTED = 130;

let interrupted = false;
const stops = new Set<() => void>();

/**
 * Only while a command asks for it: without a listener Ctrl-C ends the process at once, even in the middle of a
 * computation, and the shell reports 130.
 */
function onSignal(): void {
  if (interrupted) process.exit(INTERRUPTED);
  interrupted = true;
  for (const stop of stops) stop();
}

const io: CliIo = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
  isTty: process.stdout.isTTY === true,
  columns: process.stdout.columns ?? 100,
  onInterrupt(stop) {
    if (stops.size === 0) process.on('SIGINT', onSignal);
    stops.add(stop);
    return () => {
      stops.delete(stop);
      if (stops.size === 0) process.off('SIGINT', onSignal);
    };
  },
};

endWhenOutputCloses();
tuneEngine();
const code = await runCommandLine(project, commands, process.argv.slice(2), io);
process.exitCode = interrupted ? INTERRUPTED : code;
