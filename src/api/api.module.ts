import {
  Module,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
} from '@nestjs/common';
import { LiveController } from './live.controller.js';
import { CommandsController, QueriesController } from './messages.controller.js';
import { ServiceController } from './service.controller.js';
import { API_SERVICES, type ApiServices } from './services.js';

/** How the module gets what it works with; the buses are found by the imports. */
interface ApiModuleOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly inject?: FactoryProvider['inject'];
  readonly useFactory: (...dependencies: never[]) => ApiServices | Promise<ApiServices>;
}

/** HTTP on the command and query bus. The application is made with `createHttpAdapter`. */
@Module({})
export class ApiModule {
  static register({ imports = [], inject = [], useFactory }: ApiModuleOptions): DynamicModule {
    return {
      module: ApiModule,
      imports,
      controllers: [CommandsController, QueriesController, LiveController, ServiceController],
      providers: [{ provide: API_SERVICES, inject, useFactory }],
    };
  }
}
