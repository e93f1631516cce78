/** CPU time of one thread, which Node of these versions tells of the whole process alone. */
import { readFileSync } from 'node:fs';

/** Ticks a second in which Linux counts CPU time for programs. */
const TICKS = 100;
const STAT = '/proc/thread-self/stat';

/**
 * CPU time that the calling thread has taken, in seconds: by the kernel's account where there is one (Linux, in steps
 * of 10 ms), elsewhere the time that has passed, which is more where the machine is busy.
 */
export function threadCpuSeconds(): number {
  try {
    // The name of the thread, in parentheses, may hold spaces: fields are counted from behind it.
    const fields = readFileSync(STAT, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return performance.now() / 1000;
  }
}
