/** What the statecharts carry beside their transitions: why an event must not happen where it has none. */

/** On the root: the default rule of every event there is. On a state: rules that say more for that state. */
export interface LifeCycleMeta {
  readonly rules: Readonly<Record<string, string>>;
}
