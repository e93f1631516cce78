/** What long work tells of its progress, and how it lets others have their turn. */

export interface Watch {
  onProgress?(done: number, total: number): void;
  /** Lets signals and the screen have their turn; true asks to stop early. */
  pause?(): Promise<boolean>;
}

/** Reports progress; true asks to stop. */
export async function step(watch: Watch, done: number, total: number): Promise<boolean> {
  watch.onProgress?.(done, total);
  return watch.pause === undefined ? false : await watch.pause();
}
