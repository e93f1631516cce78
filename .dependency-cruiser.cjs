/**
 * Who may import whom, checked on the graph of files. `biome.json` says the same to the editor.
 *
 * A room's plain twin, below `.plain`, is bound by the rules of the room.
 */

/** Files of the rooms named, their plain twins included. */
const rooms = (...names) => `^(\\.plain/)?(${names.join('|')})/`;
const house = '^(\\.plain/.*|(hypercall-abi|machine|io-pgtable|hyp|host|lab|docs|test)/)';
const oracle = '^lab/oracle/';
/** What runs only in Node: all else also runs in a browser. */
const nodeOnly = '^(lab/(cli|io|build|bench)/|docs/|test/|\\.ci/|[^/]+$)';
const packages = ['npm', 'npm-dev', 'npm-optional', 'npm-peer', 'npm-bundled', 'npm-no-pkg', 'npm-unknown'];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'hypercall-abi-is-a-leaf',
      comment: 'The contract imports nothing of the house.',
      severity: 'error',
      from: { path: rooms('hypercall-abi') },
      to: { path: house, pathNot: rooms('hypercall-abi') },
    },
    {
      name: 'machine-is-a-leaf',
      comment: 'The hardware knows nothing of the hypervisor.',
      severity: 'error',
      from: { path: rooms('machine') },
      to: { path: house, pathNot: rooms('machine') },
    },
    {
      name: 'io-pgtable-imports-machine-only',
      comment:
        'Page tables are written through an interface of memory, and the hardware walks them with code of its own.',
      severity: 'error',
      from: { path: rooms('io-pgtable') },
      to: { path: house, pathNot: rooms('io-pgtable', 'machine') },
    },
    {
      name: 'io-pgtable-imports-types-only',
      comment: 'What io-pgtable takes from the machine are types.',
      severity: 'error',
      from: { path: rooms('io-pgtable') },
      to: { path: rooms('machine'), dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'hyp-imports',
      comment: 'The hypervisor imports hypercall-abi, io-pgtable and machine, and never the host.',
      severity: 'error',
      from: { path: rooms('hyp') },
      to: { path: house, pathNot: rooms('hyp', 'hypercall-abi', 'io-pgtable', 'machine') },
    },
    {
      name: 'host-never-sees-hyp',
      comment: 'The host holds the boundary, and nothing behind it.',
      severity: 'error',
      from: { path: rooms('host') },
      to: { path: rooms('hyp') },
    },
    {
      name: 'host-imports',
      comment:
        'The host imports hypercall-abi, io-pgtable, and of the machine its devices and what its stage 2 shows it.',
      severity: 'error',
      from: { path: rooms('host') },
      to: {
        path: house,
        pathNot: [rooms('host', 'hypercall-abi', 'io-pgtable'), '^machine/(host-view\\.ts$|devices?(/|\\.ts$))'],
      },
    },
    {
      name: 'oracle-trusts-no-code-under-test',
      comment: 'The oracle imports hypercall-abi, raw memory and the record tables of hyp/layout.ts.',
      severity: 'error',
      from: { path: oracle },
      to: { path: house, pathNot: [oracle, rooms('hypercall-abi'), '^machine/memory/', '^hyp/layout\\.ts$'] },
    },
    {
      name: 'nobody-imports-tests',
      severity: 'error',
      from: { pathNot: '^test/' },
      to: { path: '^test/' },
    },
    {
      name: 'core-has-no-packages',
      comment: 'The model itself depends on no package. Only the statecharts of hypercall-abi need one.',
      severity: 'error',
      from: { path: rooms('machine', 'io-pgtable', 'hyp', 'host') },
      to: { dependencyTypes: packages },
    },
    {
      name: 'hypercall-abi-has-only-xstate',
      severity: 'error',
      from: { path: rooms('hypercall-abi') },
      to: { dependencyTypes: packages, pathNot: '(^|/)node_modules/xstate/' },
    },
    {
      name: 'runs-in-a-browser',
      comment: 'Only lab/cli, lab/io, lab/build, lab/bench and tests use the modules of Node.',
      severity: 'error',
      from: { pathNot: nodeOnly },
      to: { dependencyTypes: ['core'] },
    },
    {
      name: 'no-node-behind-a-back-door',
      comment: 'What runs in a browser does not import what does not.',
      severity: 'error',
      from: { path: house, pathNot: nodeOnly },
      to: { path: '^lab/(cli|io|build|bench)/' },
    },
    {
      name: 'no-development-packages',
      comment: 'What users run needs only what they install.',
      severity: 'error',
      from: { path: house, pathNot: '^(lab/(build|bench)/|test/|docs/)' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'], pathNot: '(^|/)node_modules/@types/' },
    },
    {
      name: 'no-cycles',
      comment: 'Two files that need each other are one file. Types may refer to each other.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'nothing-unresolved',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(dist|coverage|docs/.*/(dist|cache))/' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'node', 'default'] },
  },
};
