/** A QEMU that this process starts and ends: its arguments, its errors, and a folder for its sockets and logs. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../input-error.ts';

/** The program that Debian's qemu-system-arm installs. */
export const QEMU = 'qemu-system-aarch64';

/** `QEMU emulator version …`, the first line of `--version`; null when there is no such program. */
export function qemuVersion(program: string): string | null {
  const { stdout, error, status } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 20_000 });
  if (error !== undefined || status !== 0) return null;
  return stdout.split('\n')[0]!;
}

/** The accelerators that a QEMU has. */
export function qemuAccelerators(program: string): string[] {
  const { stdout, status } = spawnSync(program, ['-accel', 'help'], { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.split('\n').map((line) => line.trim()) : [];
}

/** A folder below the system's temporary one, for one QEMU. */
export function scratchFolder(): string {
  return mkdtempSync(join(tmpdir(), 'postern-qemu-'));
}

export class QemuProcess {
  /** Resolves when QEMU has ended, with what it wrote to its standard error. */
  readonly ended: Promise<string>;
  private readonly child: ChildProcess;
  private readonly onExit: () => void;

  /** Starts QEMU. Its folder is removed with it. */
  constructor(program: string, folder: string, args: readonly string[]) {
    const errors = join(folder, 'stderr');
    const file = openSync(errors, 'w');
    this.child = spawn(program, args, { stdio: ['ignore', file, file] });
    closeSync(file);
    // No machine outlives this process, however it ends.
    this.onExit = () => this.child.kill('SIGKILL');
    process.once('exit', this.onExit);
    this.ended = new Promise((resolve, reject) => {
      const finish = (): string => {
        process.removeListener('exit', this.onExit);
        const text = readFileSync(errors, 'utf8').trim();
        rmSync(folder, { recursive: true, force: true });
        return text;
      };
      this.child.once('exit', () => resolve(finish()));
      this.child.once('error', (error: NodeJS.ErrnoException) => {
        finish();
        const got = error.code === 'ENOENT' ? 'nothing of that name' : error.message;
        reject(new InputError({ file: program, expected: 'a QEMU that can be started', got }));
      });
    });
    this.ended.catch(() => {});
  }

  /** Ends QEMU and waits for it. */
  async stop(): Promise<void> {
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
    await this.ended.catch(() => '');
    clearTimeout(timer);
  }
}
