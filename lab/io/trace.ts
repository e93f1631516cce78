/** Reads a trace from a file, line by line. */
import type { Readable } from 'node:stream';
import type { TraceEvent } from '../trace/event.ts';
import { type Trace, TraceParser } from '../trace/parse.ts';
import { displayName, forEachLine } from './read-text.ts';

/** Reads and parses a trace, plain or gzip; `-` is standard input. @throws InputError at the first malformed line */
export async function readTrace(path: string, input?: Readable): Promise<Trace> {
  const parser = new TraceParser(displayName(path));
  const events: TraceEvent[] = [];
  await forEachLine(
    path,
    (line) => {
      const event = parser.push(line);
      if (event !== null) events.push(event);
      else if (parser.firstError !== null) throw parser.firstError;
    },
    input,
  );
  return { ...parser.summary(), events };
}
