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
