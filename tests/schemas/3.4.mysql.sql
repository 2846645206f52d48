-- Made by `airflow db migrate` of Airflow 3.4.0b2 on mysql 10.11.19; see dump.py.

CREATE TABLE `alembic_version` (
  `version_num` varchar(32) NOT NULL,
  PRIMARY KEY (`version_num`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `asset` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `name` varchar(1500) CHARACTER SET latin1 COLLATE latin1_general_cs NOT NULL,
  `uri` varchar(1500) CHARACTER SET latin1 COLLATE latin1_general_cs NOT NULL,
  `group` varchar(1500) CHARACTER SET latin1 COLLATE latin1_general_cs NOT NULL,
  `extra` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL CHECK (json_valid(`extra`)),
  `created_at` timestamp(6) NOT NULL,
  `updated_at` timestamp(6) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `idx_asset_name_uri_unique` (`name`,`uri`),
  KEY `idx_asset_uri` (`uri`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `asset_state_store` (
  `asset_id` int(11) NOT NULL,
  `key` varchar(512) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `value` mediumtext NOT NULL,
  `updated_at` timestamp(6) NOT NULL,
  `last_updated_by_kind` varchar(16) DEFAULT NULL,
  `last_updated_by_dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `last_updated_by_run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `last_updated_by_task_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `last_updated_by_map_index` int(11) DEFAULT NULL,
  `last_updated_by_task_instance_id` uuid DEFAULT NULL,
  `last_updated_by_region_id` binary(16) DEFAULT NULL,
  `last_updated_by_region_index` int(11) DEFAULT NULL,
  `last_updated_by_try_number` int(11) DEFAULT NULL,
  PRIMARY KEY (`asset_id`,`key`),
  CONSTRAINT `asset_state_store_asset_fkey` FOREIGN KEY (`asset_id`) REFERENCES `asset` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `backfill` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `from_date` timestamp(6) NOT NULL,
  `to_date` timestamp(6) NOT NULL,
  `dag_run_conf` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL CHECK (json_valid(`dag_run_conf`)),
  `is_paused` tinyint(1) DEFAULT NULL,
  `reprocess_behavior` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `max_active_runs` int(11) NOT NULL,
  `created_at` timestamp(6) NOT NULL,
  `completed_at` timestamp(6) NULL DEFAULT NULL,
  `updated_at` timestamp(6) NOT NULL,
  `triggering_user_name` varchar(512) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `idx_backfill_dag_id_completed_at` (`dag_id`,`completed_at`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `dag` (
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `is_paused` tinyint(1) NOT NULL,
  `is_draining` tinyint(1) NOT NULL DEFAULT 0,
  `is_stale` tinyint(1) NOT NULL,
  `exceeds_max_non_backfill` tinyint(1) NOT NULL DEFAULT 0,
  `last_parsed_time` timestamp(6) NULL DEFAULT NULL,
  `last_parse_duration` float DEFAULT NULL,
  `last_expired` timestamp(6) NULL DEFAULT NULL,
  `fileloc` varchar(2000) DEFAULT NULL,
  `relative_fileloc` varchar(2000) DEFAULT NULL,
  `bundle_name` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `bundle_version` varchar(200) DEFAULT NULL,
  `owners` varchar(2000) DEFAULT NULL,
  `dag_display_name` varchar(2000) DEFAULT NULL,
  `description` text DEFAULT NULL,
  `timetable_type` varchar(255) NOT NULL,
  `timetable_summary` text DEFAULT NULL,
  `timetable_description` varchar(1000) DEFAULT NULL,
  `timetable_partitioned` tinyint(1) NOT NULL DEFAULT 0,
  `timetable_periodic` tinyint(1) NOT NULL DEFAULT 0,
  `timetable_asset_gated` tinyint(1) NOT NULL DEFAULT 0,
  `partition_mapper_info` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL CHECK (json_valid(`partition_mapper_info`)),
  `asset_expression` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`asset_expression`)),
  `deadline` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`deadline`)),
  `max_active_tasks` int(11) NOT NULL,
  `max_active_runs` int(11) DEFAULT NULL,
  `max_consecutive_failed_dag_runs` int(11) NOT NULL,
  `has_task_concurrency_limits` tinyint(1) NOT NULL,
  `has_import_errors` tinyint(1) DEFAULT 0,
  `fail_fast` tinyint(1) NOT NULL DEFAULT 0,
  `allowed_run_types` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`allowed_run_types`)),
  `next_dagrun` timestamp(6) NULL DEFAULT NULL,
  `next_dagrun_data_interval_start` timestamp(6) NULL DEFAULT NULL,
  `next_dagrun_data_interval_end` timestamp(6) NULL DEFAULT NULL,
  `next_dagrun_partition_key` varchar(255) DEFAULT NULL,
  `next_dagrun_partition_date` timestamp(6) NULL DEFAULT NULL,
  `next_dagrun_create_after` timestamp(6) NULL DEFAULT NULL,
  PRIMARY KEY (`dag_id`),
  KEY `dag_bundle_name_fkey` (`bundle_name`),
  KEY `idx_next_dagrun_create_after` (`next_dagrun_create_after`),
  KEY `idx_dag_is_draining` (`is_draining`),
  CONSTRAINT `dag_bundle_name_fkey` FOREIGN KEY (`bundle_name`) REFERENCES `dag_bundle` (`name`),
  CONSTRAINT `ck_dag_dag_pause_state_valid` CHECK (`is_paused` = 0 or `is_draining` = 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `dag_bundle` (
  `name` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `active` tinyint(1) DEFAULT NULL,
  `version` varchar(200) DEFAULT NULL,
  `last_refreshed` timestamp(6) NULL DEFAULT NULL,
  `signed_url_template` text DEFAULT NULL,
  `template_params` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`template_params`)),
  PRIMARY KEY (`name`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `dag_run` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `queued_at` timestamp(6) NULL DEFAULT NULL,
  `logical_date` timestamp(6) NULL DEFAULT NULL,
  `start_date` timestamp(6) NULL DEFAULT NULL,
  `end_date` timestamp(6) NULL DEFAULT NULL,
  `state` varchar(50) DEFAULT NULL,
  `run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `creating_job_id` int(11) DEFAULT NULL,
  `run_type` varchar(50) NOT NULL,
  `triggered_by` varchar(50) DEFAULT NULL,
  `triggering_user_name` varchar(512) DEFAULT NULL,
  `conf` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`conf`)),
  `data_interval_start` timestamp(6) NULL DEFAULT NULL,
  `data_interval_end` timestamp(6) NULL DEFAULT NULL,
  `run_after` timestamp(6) NOT NULL,
  `last_scheduling_decision` timestamp(6) NULL DEFAULT NULL,
  `log_template_id` int(11) DEFAULT NULL,
  `created_at` timestamp(6) NULL DEFAULT NULL,
  `updated_at` timestamp(6) NULL DEFAULT NULL,
  `clear_number` int(11) NOT NULL DEFAULT 0,
  `backfill_id` int(11) DEFAULT NULL,
  `bundle_version` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `scheduled_by_job_id` int(11) DEFAULT NULL,
  `context_carrier` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`context_carrier`)),
  `created_dag_version_id` uuid DEFAULT NULL,
  `partition_key` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `partition_date` timestamp(6) NULL DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `dag_run_dag_id_run_id_key` (`dag_id`,`run_id`),
  UNIQUE KEY `dag_run_dag_id_logical_date_key` (`dag_id`,`logical_date`),
  KEY `task_instance_log_template_id_fkey` (`log_template_id`),
  KEY `dag_run_backfill_id_fkey` (`backfill_id`),
  KEY `idx_dag_run_queued_dags` (`state`,`dag_id`),
  KEY `idx_dag_run_created_dag_version_id` (`created_dag_version_id`),
  KEY `dag_id_state` (`dag_id`,`state`),
  KEY `idx_dag_run_running_dags` (`state`,`dag_id`),
  KEY `idx_dag_run_run_after` (`run_after`),
  KEY `idx_dag_run_dag_id` (`dag_id`),
  CONSTRAINT `created_dag_version_id_fkey` FOREIGN KEY (`created_dag_version_id`) REFERENCES `dag_version` (`id`) ON DELETE SET NULL,
  CONSTRAINT `dag_run_backfill_id_fkey` FOREIGN KEY (`backfill_id`) REFERENCES `backfill` (`id`),
  CONSTRAINT `task_instance_log_template_id_fkey` FOREIGN KEY (`log_template_id`) REFERENCES `log_template` (`id`) ON DELETE NO ACTION
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `dag_version` (
  `id` uuid NOT NULL,
  `version_number` int(11) NOT NULL,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `bundle_name` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `bundle_version` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin DEFAULT NULL,
  `version_data` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`version_data`)),
  `created_at` timestamp(6) NOT NULL,
  `last_updated` timestamp(6) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `dag_id_v_name_v_number_unique_constraint` (`dag_id`,`version_number`),
  CONSTRAINT `dag_version_dag_id_fkey` FOREIGN KEY (`dag_id`) REFERENCES `dag` (`dag_id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `dynamic_region` (
  `id` binary(16) NOT NULL,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `node_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `parent_region_id` binary(16) DEFAULT NULL,
  `parent_region_index` int(11) DEFAULT NULL,
  `forked_from_region_id` binary(16) DEFAULT NULL,
  `family_root_id` binary(16) NOT NULL,
  `path` varbinary(300) NOT NULL,
  `resumes_from_index` int(11) NOT NULL DEFAULT 0,
  `slot_key` binary(32) DEFAULT NULL,
  `created_at` timestamp(6) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `dynamic_region_forked_from_region_id_uq` (`forked_from_region_id`),
  UNIQUE KEY `dynamic_region_slot_key_uq` (`slot_key`),
  KEY `idx_dynamic_region_path` (`path`),
  KEY `idx_dynamic_region_slot` (`dag_id`,`run_id`,`node_id`,`parent_region_id`,`parent_region_index`),
  KEY `idx_dynamic_region_family_root_id` (`family_root_id`),
  KEY `idx_dynamic_region_parent_region_id` (`parent_region_id`),
  CONSTRAINT `dynamic_region_dag_run_fkey` FOREIGN KEY (`dag_id`, `run_id`) REFERENCES `dag_run` (`dag_id`, `run_id`) ON DELETE CASCADE,
  CONSTRAINT `dynamic_region_parent_region_id_fkey` FOREIGN KEY (`parent_region_id`) REFERENCES `dynamic_region` (`id`) ON DELETE CASCADE,
  CONSTRAINT `ck_dynamic_region_parent_coordinates_paired` CHECK (`parent_region_id` is null and `parent_region_index` is null or `parent_region_id` is not null and `parent_region_index` is not null),
  CONSTRAINT `ck_dynamic_region_resumes_from_index_nonnegative` CHECK (`resumes_from_index` >= 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `legacy_task_data_owner` (
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `task_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `map_index` int(11) NOT NULL,
  `task_instance_id` uuid NOT NULL,
  PRIMARY KEY (`dag_id`,`task_id`,`run_id`,`map_index`),
  KEY `idx_legacy_task_data_owner_ti` (`task_instance_id`),
  CONSTRAINT `legacy_task_data_owner_ti_fkey` FOREIGN KEY (`task_instance_id`) REFERENCES `task_instance` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `log_template` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `filename` text NOT NULL,
  `elasticsearch_id` text NOT NULL,
  `created_at` timestamp(6) NOT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `serialized_dag` (
  `id` uuid NOT NULL,
  `dag_id` varchar(250) NOT NULL,
  `data` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`data`)),
  `data_compressed` blob DEFAULT NULL,
  `created_at` timestamp(6) NOT NULL,
  `last_updated` timestamp(6) NOT NULL,
  `dag_hash` varchar(32) NOT NULL,
  `dag_version_id` uuid NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `serialized_dag_dag_version_id_uq` (`dag_version_id`),
  KEY `idx_serialized_dag_dag_id_created_at` (`dag_id`,`created_at`),
  CONSTRAINT `serialized_dag_dag_version_id_fkey` FOREIGN KEY (`dag_version_id`) REFERENCES `dag_version` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `task_instance` (
  `id` uuid NOT NULL,
  `task_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `region_index` int(11) NOT NULL DEFAULT -1,
  `region_id` binary(16) NOT NULL DEFAULT unhex('00000000000000000000000000000000'),
  `start_date` timestamp(6) NULL DEFAULT NULL,
  `end_date` timestamp(6) NULL DEFAULT NULL,
  `duration` float DEFAULT NULL,
  `state` varchar(20) DEFAULT NULL,
  `try_number` int(11) NOT NULL,
  `max_tries` int(11) NOT NULL DEFAULT -1,
  `working_set` tinyint(1) DEFAULT 1,
  `archived_reason` varchar(50) DEFAULT NULL,
  `hostname` varchar(1000) DEFAULT NULL,
  `unixname` varchar(1000) DEFAULT NULL,
  `pool` varchar(256) NOT NULL,
  `pool_slots` int(11) NOT NULL,
  `queue` varchar(256) DEFAULT NULL,
  `priority_weight` int(11) DEFAULT NULL,
  `operator` varchar(1000) DEFAULT NULL,
  `custom_operator_name` varchar(1000) DEFAULT NULL,
  `queued_dttm` timestamp(6) NULL DEFAULT NULL,
  `scheduled_dttm` timestamp(6) NULL DEFAULT NULL,
  `queued_by_job_id` int(11) DEFAULT NULL,
  `last_heartbeat_at` timestamp(6) NULL DEFAULT NULL,
  `pid` int(11) DEFAULT NULL,
  `executor` varchar(1000) DEFAULT NULL,
  `executor_config` blob DEFAULT NULL,
  `updated_at` timestamp(6) NULL DEFAULT NULL,
  `rendered_map_index` varchar(250) DEFAULT NULL,
  `context_carrier` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`context_carrier`)),
  `external_executor_id` text DEFAULT NULL,
  `trigger_id` int(11) DEFAULT NULL,
  `trigger_timeout` timestamp(6) NULL DEFAULT NULL,
  `next_method` varchar(1000) DEFAULT NULL,
  `next_kwargs` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`next_kwargs`)),
  `task_display_name` varchar(2000) DEFAULT NULL,
  `dag_version_id` uuid DEFAULT NULL,
  `retry_delay_override` float DEFAULT NULL,
  `retry_reason` varchar(500) DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `task_instance_try_key` (`dag_id`,`task_id`,`run_id`,`region_id`,`region_index`,`try_number`),
  UNIQUE KEY `task_instance_current_key` (`dag_id`,`task_id`,`run_id`,`region_id`,`region_index`,`working_set`),
  KEY `ti_dag_state` (`dag_id`,`state`),
  KEY `ti_dag_version_id` (`dag_version_id`),
  KEY `ti_state` (`state`),
  KEY `ti_trigger_id` (`trigger_id`),
  KEY `ti_dag_run` (`dag_id`,`run_id`),
  KEY `ti_current_state` (`working_set`,`state`),
  KEY `ti_pool` (`pool`,`state`,`priority_weight`),
  KEY `ti_state_lkp` (`dag_id`,`task_id`,`run_id`,`state`),
  KEY `ti_current_dag_run` (`working_set`,`dag_id`,`run_id`,`state`),
  KEY `ti_heartbeat` (`last_heartbeat_at`),
  CONSTRAINT `task_instance_dag_run_fkey` FOREIGN KEY (`dag_id`, `run_id`) REFERENCES `dag_run` (`dag_id`, `run_id`) ON DELETE CASCADE,
  CONSTRAINT `task_instance_dag_version_id_fkey` FOREIGN KEY (`dag_version_id`) REFERENCES `dag_version` (`id`),
  CONSTRAINT `task_instance_trigger_id_fkey` FOREIGN KEY (`trigger_id`) REFERENCES `trigger` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `task_state_store` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `dag_run_id` int(11) NOT NULL,
  `task_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `region_index` int(11) NOT NULL DEFAULT -1,
  `region_id` binary(16) NOT NULL DEFAULT unhex('00000000000000000000000000000000'),
  `key` varchar(512) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `value` mediumtext NOT NULL,
  `updated_at` timestamp(6) NOT NULL,
  `expires_at` timestamp(6) NULL DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `task_state_store_uq` (`dag_run_id`,`task_id`,`region_id`,`region_index`,`key`),
  KEY `idx_task_state_store_expires_at` (`expires_at`),
  KEY `idx_task_state_store_lookup` (`dag_id`,`run_id`,`task_id`,`region_index`),
  CONSTRAINT `task_state_store_dag_run_fkey` FOREIGN KEY (`dag_run_id`) REFERENCES `dag_run` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `team` (
  `name` varchar(50) NOT NULL,
  PRIMARY KEY (`name`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `trigger` (
  `id` int(11) NOT NULL AUTO_INCREMENT,
  `classpath` varchar(1000) NOT NULL,
  `kwargs` text NOT NULL,
  `created_date` timestamp(6) NOT NULL,
  `triggerer_id` int(11) DEFAULT NULL,
  `queue` varchar(256) DEFAULT NULL,
  `team_name` varchar(50) DEFAULT NULL,
  PRIMARY KEY (`id`),
  KEY `idx_trigger_triggerer_queue_id` (`triggerer_id`,`queue`,`id`),
  KEY `idx_trigger_team_name` (`team_name`),
  CONSTRAINT `trigger_team_name_fkey` FOREIGN KEY (`team_name`) REFERENCES `team` (`name`) ON DELETE SET NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `xcom_v1` (
  `dag_run_id` int(11) NOT NULL,
  `task_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `map_index` int(11) NOT NULL DEFAULT -1,
  `key` varchar(512) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `dag_result` tinyint(1) DEFAULT NULL,
  `dag_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `run_id` varchar(250) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `value` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`value`)),
  `timestamp` timestamp(6) NOT NULL,
  `mapped_length` int(11) DEFAULT NULL,
  PRIMARY KEY (`dag_run_id`,`task_id`,`map_index`,`key`),
  KEY `idx_xcom_key` (`key`),
  KEY `idx_xcom_task_instance` (`dag_id`,`task_id`,`run_id`,`map_index`),
  CONSTRAINT `xcom_task_instance_fkey` FOREIGN KEY (`dag_id`, `task_id`, `run_id`, `map_index`) REFERENCES `legacy_task_data_owner` (`dag_id`, `task_id`, `run_id`, `map_index`) ON DELETE CASCADE
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `xcom_v2` (
  `id` uuid NOT NULL,
  `task_instance_id` uuid NOT NULL,
  `key` varchar(512) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin NOT NULL,
  `value` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`value`)),
  `timestamp` timestamp(6) NOT NULL,
  `dag_result` tinyint(1) DEFAULT NULL,
  `mapped_length` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `xcom_v2_ti_key_uq` (`task_instance_id`,`key`),
  CONSTRAINT `xcom_v2_ti_fkey` FOREIGN KEY (`task_instance_id`) REFERENCES `task_instance` (`id`) ON DELETE CASCADE,
  CONSTRAINT `ck_xcom_v2_xcom_v2_mapped_length_not_negative` CHECK (`mapped_length` >= 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

INSERT INTO alembic_version (version_num) VALUES ('9cffe90fa0c0');
