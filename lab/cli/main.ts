#!/usr/bin/env node
import { cac } from 'cac';
import project from '../../package.json' with { type: 'json' };

const cli = cac(project.name);
cli.usage('[command]');
cli.version(project.version);
cli.help();
cli.parse();

if (cli.args.length > 0) {
  console.error(`${project.name}: there is no command named ${cli.args[0]}; see ${project.name} --help`);
  process.exitCode = 2;
} else if (!cli.options.help && !cli.options.version) {
  cli.outputHelp();
  process.exitCode = 2;
}
