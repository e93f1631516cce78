/** A progress bar on standard error, where that is a terminal; silent elsewhere. */
import { Presets, SingleBar } from 'cli-progress';

/** What long work reports to. */
export interface Progress {
  update(done: number, total: number): void;
  /** Take the bar away. */
  end(): void;
}

const SILENT: Progress = { update() {}, end() {} };

/** @param wanted false keeps it silent in any case */
export function progressBar(io: { readonly isTty: boolean }, label: string, wanted = true): Progress {
  if (!wanted || !io.isTty || process.stderr.isTTY !== true) return SILENT;
  const bar = new SingleBar(
    { format: `${label} {bar} {percentage}% {value}/{total} {eta_formatted}`, clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(done, total) {
      if (!started) {
        bar.start(total, done);
        started = true;
      } else {
        bar.update(done);
      }
    },
    end() {
      if (started) bar.stop();
    },
  };
}

/** One line about long work that has no end to count to. */
export interface StatusLine {
  show(text: string): void;
  /** Take the line away, so that something else can be printed. */
  clear(): void;
}

/** On standard error, where that is a terminal. @param wanted false keeps it silent in any case */
export function statusLine(io: { readonly isTty: boolean }, wanted: boolean): StatusLine {
  if (!wanted || !io.isTty || process.stderr.isTTY !== true) return { show() {}, clear() {} };
  let bar: SingleBar | null = null;
  return {
    show(text) {
      if (bar === null) {
        bar = new SingleBar({ format: '{text}', clearOnComplete: true, hideCursor: true });
        bar.start(1, 0, { text });
      } else {
        bar.update(0, { text });
      }
    },
    clear() {
      bar?.stop();
      bar = null;
    },
  };
}
