/** QEMU's monitor protocol (QMP): JSON lines over a socket, one answer for each command; events come in between. */
import { connect, type Socket } from 'node:net';
import { InputError } from '../input-error.ts';

interface Message {
  readonly QMP?: { readonly version?: { readonly qemu?: { major: number; minor: number; micro: number } } };
  readonly return?: unknown;
  readonly error?: { readonly class?: string; readonly desc?: string };
  readonly event?: string;
}

/** A command that QEMU refused; the message is QEMU's own. */
export class QmpRefusal extends Error {}

const GREETING_MS = 10_000;

export class Qmp {
  /** `7.2.22`, from the greeting. */
  readonly version: string;
  private readonly path: string;
  private readonly socket: Socket;
  private readonly answers: ((message: Message | null) => void)[];

  private constructor(path: string, socket: Socket, answers: ((message: Message | null) => void)[], version: string) {
    this.path = path;
    this.socket = socket;
    this.answers = answers;
    this.version = version;
  }

  /** Connects to the monitor socket at `path`. @throws InputError when nothing there speaks QMP */
  static async connect(path: string): Promise<Qmp> {
    const answers: ((message: Message | null) => void)[] = [];
    const socket = connect(path);
    const greeting = new Promise<Message | null>((resolve) => answers.push(resolve));
    let failure: NodeJS.ErrnoException | null = null;
    let rest = '';
    const end = (): void => {
      for (const answer of answers.splice(0)) answer(null);
    };
    socket.setEncoding('utf8');
    socket.on('error', (error) => {
      failure = error;
      end();
    });
    socket.on('close', end);
    socket.on('data', (text) => {
      const lines = (rest + String(text)).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const message = parse(line);
        if (message !== null && message.event === undefined) answers.shift()?.(message);
      }
    });
    const timer = setTimeout(end, GREETING_MS);
    const first = await greeting;
    clearTimeout(timer);
    if (first?.QMP === undefined) {
      socket.destroy();
      throw new InputError({ file: path, expected: 'the QMP socket of a running QEMU', got: whyNot(failure) });
    }
    const { major = 0, minor = 0, micro = 0 } = first.QMP.version?.qemu ?? {};
    const qmp = new Qmp(path, socket, answers, `${major}.${minor}.${micro}`);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** Executes a command. @throws QmpRefusal with QEMU's words, InputError when QEMU is gone */
  async execute(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const answer = new Promise<Message | null>((resolve) => this.answers.push(resolve));
    this.socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const message = this.socket.destroyed ? null : await answer;
    if (message === null) throw new InputError({ file: this.path, expected: `an answer to ${execute}`, got: 'an end' });
    if (message.error !== undefined)
      throw new QmpRefusal(`QEMU refused ${execute}: ${message.error.desc ?? 'no reason'}`);
    return message.return;
  }

  /** What the human monitor answers to a command. */
  async human(command: string): Promise<string> {
    return String(await this.execute('human-monitor-command', { 'command-line': command }));
  }

  close(): void {
    this.socket.destroy();
  }
}

function parse(line: string): Message | null {
  try {
    return JSON.parse(line) as Message;
  } catch {
    return null;
  }
}

function whyNot(failure: NodeJS.ErrnoException | null): string {
  if (failure === null) return 'no greeting: another client may hold it';
  if (failure.code === 'ENOENT') return 'nothing of that name';
  if (failure.code === 'ECONNREFUSED') return 'a socket that nobody listens on';
  if (failure.code === 'ENOTSOCK') return 'a file that is no socket';
  return failure.message;
}
