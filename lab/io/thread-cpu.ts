/** CPU time of one thread, which Node of these versions tells of the whole process alone. */
import { readFileSync, readlinkSync } from 'node:fs';

/** Ticks a second in which Linux counts CPU time for programs. */
const TICKS = 100;
const THREAD = '/proc/thread-self';

/** The calling thread, as {@link threadCpuSeconds} of another one takes it; undefined where the system has no such name. */
export function threadName(): string | undefined {
  try {
    return `/proc/${readlinkSync(THREAD)}`;
  } catch {
    return undefined;
  }
}

/**
 * CPU time that a thread of this process has taken, in seconds: by the kernel's account where there is one (Linux, in
 * steps of 10 ms), elsewhere the time that has passed, which is more where the machine is busy.
 * @param thread by {@link threadName}; the calling one when left out
 */
export function threadCpuSeconds(thread = THREAD): number {
  try {
    // The name of the thread, in parentheses, may hold spaces: fields are counted from behind it.
    const fields = readFileSync(`${thread}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return performance.now() / 1000;
  }
}
