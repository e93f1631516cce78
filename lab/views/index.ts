/** Drawings of what the lab sees, as scenes and as SVG. Runs in a browser. */
export { type MemoryMap, type MemoryRun, memoryMap, OWNER_NAMES, ownerAt, type PageOwner } from './memory-map.ts';
export { type MemoryViewOptions, memoryView } from './memory-view.ts';
export { collisions, TEXT_STYLES, type TextStyle, textBox, textWidth } from './metrics.ts';
export { type ModelWalkViewOptions, modelWalkView } from './model-walk-view.ts';
export { below, beside, type Item, type Scene, Sketch, type Surface, type Tone } from './scene.ts';
export { renderSvg } from './svg.ts';
export { type TablesViewOptions, tablesView, treeView } from './tables-view.ts';
export { defaultTheme, type Palette, styleSheet, type Theme } from './theme.ts';
export {
  type Timeline,
  type TimelineMoment,
  type TimelineStep,
  type TimelineWindow,
  timelineOf,
} from './timeline.ts';
export { type TimelineViewOptions, timelineView } from './timeline-view.ts';
export { type WalkViewOptions, walkView } from './walk-view.ts';
