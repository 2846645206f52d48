-- Made by `airflow db migrate` of Airflow 3.4.0b2 on postgresql 16.14; see dump.py.

CREATE TABLE alembic_version (
    version_num character varying(32) NOT NULL
);

CREATE TABLE asset (
    id integer NOT NULL,
    name character varying(1500) NOT NULL,
    uri character varying(1500) NOT NULL,
    "group" character varying(1500) NOT NULL,
    extra json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
);

CREATE SEQUENCE asset_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE asset_id_seq OWNED BY asset.id;

CREATE TABLE asset_state_store (
    asset_id integer NOT NULL,
    key character varying(512) NOT NULL,
    value text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    last_updated_by_kind character varying(16),
    last_updated_by_dag_id character varying(250),
    last_updated_by_run_id character varying(250),
    last_updated_by_task_id character varying(250),
    last_updated_by_map_index integer,
    last_updated_by_task_instance_id uuid,
    last_updated_by_region_id uuid,
    last_updated_by_region_index integer,
    last_updated_by_try_number integer
);

CREATE TABLE backfill (
    id integer NOT NULL,
    dag_id character varying(250) NOT NULL,
    from_date timestamp with time zone NOT NULL,
    to_date timestamp with time zone NOT NULL,
    dag_run_conf json NOT NULL,
    is_paused boolean,
    reprocess_behavior character varying(250) NOT NULL,
    max_active_runs integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    completed_at timestamp with time zone,
    updated_at timestamp with time zone NOT NULL,
    triggering_user_name character varying(512)
);

CREATE SEQUENCE backfill_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE backfill_id_seq OWNED BY backfill.id;

CREATE TABLE dag (
    dag_id character varying(250) NOT NULL,
    is_paused boolean NOT NULL,
    is_draining boolean DEFAULT false NOT NULL,
    is_stale boolean NOT NULL,
    exceeds_max_non_backfill boolean DEFAULT false NOT NULL,
    last_parsed_time timestamp with time zone,
    last_parse_duration double precision,
    last_expired timestamp with time zone,
    fileloc character varying(2000),
    relative_fileloc character varying(2000),
    bundle_name character varying(250) NOT NULL,
    bundle_version character varying(200),
    owners character varying(2000),
    dag_display_name character varying(2000),
    description text,
    timetable_type character varying(255) NOT NULL,
    timetable_summary text,
    timetable_description character varying(1000),
    timetable_partitioned boolean DEFAULT false NOT NULL,
    timetable_periodic boolean DEFAULT false NOT NULL,
    timetable_asset_gated boolean DEFAULT false NOT NULL,
    partition_mapper_info json NOT NULL,
    asset_expression json,
    deadline json,
    max_active_tasks integer NOT NULL,
    max_active_runs integer,
    max_consecutive_failed_dag_runs integer NOT NULL,
    has_task_concurrency_limits boolean NOT NULL,
    has_import_errors boolean DEFAULT false,
    fail_fast boolean DEFAULT false NOT NULL,
    allowed_run_types json,
    next_dagrun timestamp with time zone,
    next_dagrun_data_interval_start timestamp with time zone,
    next_dagrun_data_interval_end timestamp with time zone,
    next_dagrun_partition_key character varying(255),
    next_dagrun_partition_date timestamp with time zone,
    next_dagrun_create_after timestamp with time zone,
    CONSTRAINT ck_dag_dag_pause_state_valid CHECK ((NOT (is_paused AND is_draining)))
);

CREATE TABLE dag_bundle (
    name character varying(250) NOT NULL,
    active boolean,
    version character varying(200),
    last_refreshed timestamp with time zone,
    signed_url_template text,
    template_params json
);

CREATE TABLE dag_run (
    id integer NOT NULL,
    dag_id character varying(250) NOT NULL,
    queued_at timestamp with time zone,
    logical_date timestamp with time zone,
    start_date timestamp with time zone,
    end_date timestamp with time zone,
    state character varying(50),
    run_id character varying(250) NOT NULL,
    creating_job_id integer,
    run_type character varying(50) NOT NULL,
    triggered_by character varying(50),
    triggering_user_name character varying(512),
    conf jsonb,
    data_interval_start timestamp with time zone,
    data_interval_end timestamp with time zone,
    run_after timestamp with time zone NOT NULL,
    last_scheduling_decision timestamp with time zone,
    log_template_id integer,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    clear_number integer DEFAULT 0 NOT NULL,
    backfill_id integer,
    bundle_version character varying(250),
    scheduled_by_job_id integer,
    context_carrier jsonb,
    created_dag_version_id uuid,
    partition_key character varying(250),
    partition_date timestamp with time zone
);

CREATE SEQUENCE dag_run_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE dag_run_id_seq OWNED BY dag_run.id;

CREATE TABLE dag_version (
    id uuid NOT NULL,
    version_number integer NOT NULL,
    dag_id character varying(250) NOT NULL,
    bundle_name character varying(250),
    bundle_version character varying(250),
    version_data json,
    created_at timestamp with time zone NOT NULL,
    last_updated timestamp with time zone NOT NULL
);

CREATE TABLE dynamic_region (
    id uuid NOT NULL,
    dag_id character varying(250) NOT NULL,
    run_id character varying(250) NOT NULL,
    node_id character varying(250) NOT NULL,
    parent_region_id uuid,
    parent_region_index integer,
    forked_from_region_id uuid,
    family_root_id uuid NOT NULL,
    path bytea NOT NULL,
    resumes_from_index integer DEFAULT 0 NOT NULL,
    slot_key bytea,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_dynamic_region_parent_coordinates_paired CHECK ((((parent_region_id IS NULL) AND (parent_region_index IS NULL)) OR ((parent_region_id IS NOT NULL) AND (parent_region_index IS NOT NULL)))),
    CONSTRAINT ck_dynamic_region_resumes_from_index_nonnegative CHECK ((resumes_from_index >= 0))
);

CREATE TABLE legacy_task_data_owner (
    dag_id character varying(250) NOT NULL,
    task_id character varying(250) NOT NULL,
    run_id character varying(250) NOT NULL,
    map_index integer NOT NULL,
    task_instance_id uuid NOT NULL
);

CREATE TABLE log_template (
    id integer NOT NULL,
    filename text NOT NULL,
    elasticsearch_id text NOT NULL,
    created_at timestamp with time zone NOT NULL
);

CREATE SEQUENCE log_template_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE log_template_id_seq OWNED BY log_template.id;

CREATE TABLE serialized_dag (
    id uuid NOT NULL,
    dag_id character varying(250) NOT NULL,
    data jsonb,
    data_compressed bytea,
    created_at timestamp with time zone NOT NULL,
    last_updated timestamp with time zone NOT NULL,
    dag_hash character varying(32) NOT NULL,
    dag_version_id uuid NOT NULL
);

CREATE TABLE task_instance (
    id uuid NOT NULL,
    task_id character varying(250) NOT NULL,
    dag_id character varying(250) NOT NULL,
    run_id character varying(250) NOT NULL,
    region_index integer DEFAULT '-1'::integer NOT NULL,
    region_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    start_date timestamp with time zone,
    end_date timestamp with time zone,
    duration double precision,
    state character varying(20),
    try_number integer NOT NULL,
    max_tries integer DEFAULT '-1'::integer NOT NULL,
    working_set boolean DEFAULT true,
    archived_reason character varying(50),
    hostname character varying(1000),
    unixname character varying(1000),
    pool character varying(256) NOT NULL,
    pool_slots integer NOT NULL,
    queue character varying(256),
    priority_weight integer,
    operator character varying(1000),
    custom_operator_name character varying(1000),
    queued_dttm timestamp with time zone,
    scheduled_dttm timestamp with time zone,
    queued_by_job_id integer,
    last_heartbeat_at timestamp with time zone,
    pid integer,
    executor character varying(1000),
    executor_config bytea,
    updated_at timestamp with time zone,
    rendered_map_index character varying(250),
    context_carrier jsonb,
    external_executor_id text,
    trigger_id integer,
    trigger_timeout timestamp with time zone,
    next_method character varying(1000),
    next_kwargs jsonb,
    task_display_name character varying(2000),
    dag_version_id uuid,
    retry_delay_override double precision,
    retry_reason character varying(500)
);

CREATE TABLE task_state_store (
    id integer NOT NULL,
    dag_run_id integer NOT NULL,
    task_id character varying(250) NOT NULL,
    region_index integer DEFAULT '-1'::integer NOT NULL,
    region_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
    key character varying(512) NOT NULL,
    dag_id character varying(250) NOT NULL,
    run_id character varying(250) NOT NULL,
    value text NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone
);

CREATE SEQUENCE task_state_store_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE task_state_store_id_seq OWNED BY task_state_store.id;

CREATE TABLE team (
    name character varying(50) NOT NULL
);

CREATE TABLE trigger (
    id integer NOT NULL,
    classpath character varying(1000) NOT NULL,
    kwargs text NOT NULL,
    created_date timestamp with time zone NOT NULL,
    triggerer_id integer,
    queue character varying(256),
    team_name character varying(50)
);

CREATE SEQUENCE trigger_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER SEQUENCE trigger_id_seq OWNED BY trigger.id;

CREATE TABLE xcom_v1 (
    dag_run_id integer NOT NULL,
    task_id character varying(250) NOT NULL,
    map_index integer DEFAULT '-1'::integer NOT NULL,
    key character varying(512) NOT NULL,
    dag_result boolean,
    dag_id character varying(250) NOT NULL,
    run_id character varying(250) NOT NULL,
    value jsonb,
    "timestamp" timestamp with time zone NOT NULL,
    mapped_length integer
);

CREATE TABLE xcom_v2 (
    id uuid NOT NULL,
    task_instance_id uuid NOT NULL,
    key character varying(512) NOT NULL,
    value jsonb,
    "timestamp" timestamp with time zone NOT NULL,
    dag_result boolean,
    mapped_length integer,
    CONSTRAINT ck_xcom_v2_xcom_v2_mapped_length_not_negative CHECK ((mapped_length >= 0))
);

ALTER TABLE ONLY asset ALTER COLUMN id SET DEFAULT nextval('asset_id_seq'::regclass);

ALTER TABLE ONLY backfill ALTER COLUMN id SET DEFAULT nextval('backfill_id_seq'::regclass);

ALTER TABLE ONLY dag_run ALTER COLUMN id SET DEFAULT nextval('dag_run_id_seq'::regclass);

ALTER TABLE ONLY log_template ALTER COLUMN id SET DEFAULT nextval('log_template_id_seq'::regclass);

ALTER TABLE ONLY task_state_store ALTER COLUMN id SET DEFAULT nextval('task_state_store_id_seq'::regclass);

ALTER TABLE ONLY trigger ALTER COLUMN id SET DEFAULT nextval('trigger_id_seq'::regclass);

ALTER TABLE ONLY alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

ALTER TABLE ONLY asset
    ADD CONSTRAINT asset_pkey PRIMARY KEY (id);

ALTER TABLE ONLY asset_state_store
    ADD CONSTRAINT asset_state_store_pkey PRIMARY KEY (asset_id, key);

ALTER TABLE ONLY backfill
    ADD CONSTRAINT backfill_pkey PRIMARY KEY (id);

ALTER TABLE ONLY dag_bundle
    ADD CONSTRAINT dag_bundle_pkey PRIMARY KEY (name);

ALTER TABLE ONLY dag_version
    ADD CONSTRAINT dag_id_v_name_v_number_unique_constraint UNIQUE (dag_id, version_number);

ALTER TABLE ONLY dag
    ADD CONSTRAINT dag_pkey PRIMARY KEY (dag_id);

ALTER TABLE ONLY dag_run
    ADD CONSTRAINT dag_run_dag_id_logical_date_key UNIQUE (dag_id, logical_date);

ALTER TABLE ONLY dag_run
    ADD CONSTRAINT dag_run_dag_id_run_id_key UNIQUE (dag_id, run_id);

ALTER TABLE ONLY dag_run
    ADD CONSTRAINT dag_run_pkey PRIMARY KEY (id);

ALTER TABLE ONLY dag_version
    ADD CONSTRAINT dag_version_pkey PRIMARY KEY (id);

ALTER TABLE ONLY dynamic_region
    ADD CONSTRAINT dynamic_region_forked_from_region_id_uq UNIQUE (forked_from_region_id);

ALTER TABLE ONLY dynamic_region
    ADD CONSTRAINT dynamic_region_pkey PRIMARY KEY (id);

ALTER TABLE ONLY dynamic_region
    ADD CONSTRAINT dynamic_region_slot_key_uq UNIQUE (slot_key);

ALTER TABLE ONLY legacy_task_data_owner
    ADD CONSTRAINT legacy_task_data_owner_pkey PRIMARY KEY (dag_id, task_id, run_id, map_index);

ALTER TABLE ONLY log_template
    ADD CONSTRAINT log_template_pkey PRIMARY KEY (id);

ALTER TABLE ONLY serialized_dag
    ADD CONSTRAINT serialized_dag_dag_version_id_uq UNIQUE (dag_version_id);

ALTER TABLE ONLY serialized_dag
    ADD CONSTRAINT serialized_dag_pkey PRIMARY KEY (id);

ALTER TABLE ONLY task_instance
    ADD CONSTRAINT task_instance_current_key UNIQUE (dag_id, task_id, run_id, region_id, region_index, working_set);

ALTER TABLE ONLY task_instance
    ADD CONSTRAINT task_instance_pkey PRIMARY KEY (id);

ALTER TABLE ONLY task_instance
    ADD CONSTRAINT task_instance_try_key UNIQUE (dag_id, task_id, run_id, region_id, region_index, try_number);

ALTER TABLE ONLY task_state_store
    ADD CONSTRAINT task_state_store_pkey PRIMARY KEY (id);

ALTER TABLE ONLY task_state_store
    ADD CONSTRAINT task_state_store_uq UNIQUE (dag_run_id, task_id, region_id, region_index, key);

ALTER TABLE ONLY team
    ADD CONSTRAINT team_pkey PRIMARY KEY (name);

ALTER TABLE ONLY trigger
    ADD CONSTRAINT trigger_pkey PRIMARY KEY (id);

ALTER TABLE ONLY xcom_v1
    ADD CONSTRAINT xcom_pkey PRIMARY KEY (dag_run_id, task_id, map_index, key);

ALTER TABLE ONLY xcom_v2
    ADD CONSTRAINT xcom_v2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY xcom_v2
    ADD CONSTRAINT xcom_v2_ti_key_uq UNIQUE (task_instance_id, key);

CREATE INDEX dag_id_state ON dag_run USING btree (dag_id, state);

CREATE UNIQUE INDEX idx_asset_name_uri_unique ON asset USING btree (name, uri);

CREATE INDEX idx_asset_uri ON asset USING btree (uri);

CREATE INDEX idx_backfill_dag_id_completed_at ON backfill USING btree (dag_id, completed_at);

CREATE INDEX idx_dag_is_draining ON dag USING btree (is_draining);

CREATE INDEX idx_dag_run_created_dag_version_id ON dag_run USING btree (created_dag_version_id);

CREATE INDEX idx_dag_run_dag_id ON dag_run USING btree (dag_id);

CREATE INDEX idx_dag_run_queued_dags ON dag_run USING btree (state, dag_id) WHERE ((state)::text = 'queued'::text);

CREATE INDEX idx_dag_run_run_after ON dag_run USING btree (run_after);

CREATE INDEX idx_dag_run_running_dags ON dag_run USING btree (state, dag_id) WHERE ((state)::text = 'running'::text);

CREATE INDEX idx_dynamic_region_family_root_id ON dynamic_region USING btree (family_root_id);

CREATE INDEX idx_dynamic_region_parent_region_id ON dynamic_region USING btree (parent_region_id);

CREATE INDEX idx_dynamic_region_path ON dynamic_region USING btree (path);

CREATE INDEX idx_dynamic_region_slot ON dynamic_region USING btree (dag_id, run_id, node_id, parent_region_id, parent_region_index);

CREATE INDEX idx_legacy_task_data_owner_ti ON legacy_task_data_owner USING btree (task_instance_id);

CREATE INDEX idx_next_dagrun_create_after ON dag USING btree (next_dagrun_create_after);

CREATE INDEX idx_serialized_dag_dag_id_created_at ON serialized_dag USING btree (dag_id, created_at);

CREATE INDEX idx_task_state_store_expires_at ON task_state_store USING btree (expires_at);

CREATE INDEX idx_task_state_store_lookup ON task_state_store USING btree (dag_id, run_id, task_id, region_index);

CREATE INDEX idx_trigger_team_name ON trigger USING btree (team_name);

CREATE INDEX idx_trigger_triggerer_queue_id ON trigger USING btree (triggerer_id, queue, id);

CREATE INDEX idx_xcom_key ON xcom_v1 USING btree (key);

CREATE INDEX idx_xcom_task_instance ON xcom_v1 USING btree (dag_id, task_id, run_id, map_index);

CREATE INDEX ti_current_dag_run ON task_instance USING btree (working_set, dag_id, run_id, state) WHERE (working_set IS TRUE);

CREATE INDEX ti_current_state ON task_instance USING btree (working_set, state) WHERE (working_set IS TRUE);

CREATE INDEX ti_dag_run ON task_instance USING btree (dag_id, run_id);

CREATE INDEX ti_dag_state ON task_instance USING btree (dag_id, state);

CREATE INDEX ti_dag_version_id ON task_instance USING btree (dag_version_id);

CREATE INDEX ti_heartbeat ON task_instance USING btree (last_heartbeat_at);

CREATE INDEX ti_pool ON task_instance USING btree (pool, state, priority_weight);

CREATE INDEX ti_state ON task_instance USING btree (state);

CREATE INDEX ti_state_lkp ON task_instance USING btree (dag_id, task_id, run_id, state);

CREATE INDEX ti_trigger_id ON task_instance USING btree (trigger_id);

ALTER TABLE ONLY asset_state_store
    ADD CONSTRAINT asset_state_store_asset_fkey FOREIGN KEY (asset_id) REFERENCES asset(id) ON DELETE CASCADE;

ALTER TABLE ONLY dag_run
    ADD CONSTRAINT created_dag_version_id_fkey FOREIGN KEY (created_dag_version_id) REFERENCES dag_version(id) ON DELETE SET NULL;

ALTER TABLE ONLY dag
    ADD CONSTRAINT dag_bundle_name_fkey FOREIGN KEY (bundle_name) REFERENCES dag_bundle(name);

ALTER TABLE ONLY dag_run
    ADD CONSTRAINT dag_run_backfill_id_fkey FOREIGN KEY (backfill_id) REFERENCES backfill(id);

ALTER TABLE ONLY dag_version
    ADD CONSTRAINT dag_version_dag_id_fkey FOREIGN KEY (dag_id) REFERENCES dag(dag_id) ON DELETE CASCADE;

ALTER TABLE ONLY dynamic_region
    ADD CONSTRAINT dynamic_region_dag_run_fkey FOREIGN KEY (dag_id, run_id) REFERENCES dag_run(dag_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY dynamic_region
    ADD CONSTRAINT dynamic_region_parent_region_id_fkey FOREIGN KEY (parent_region_id) REFERENCES dynamic_region(id) ON DELETE CASCADE;

ALTER TABLE ONLY legacy_task_data_owner
    ADD CONSTRAINT legacy_task_data_owner_ti_fkey FOREIGN KEY (task_instance_id) REFERENCES task_instance(id) ON DELETE CASCADE;

ALTER TABLE ONLY serialized_dag
    ADD CONSTRAINT serialized_dag_dag_version_id_fkey FOREIGN KEY (dag_version_id) REFERENCES dag_version(id) ON DELETE CASCADE;

ALTER TABLE ONLY task_instance
    ADD CONSTRAINT task_instance_dag_run_fkey FOREIGN KEY (dag_id, run_id) REFERENCES dag_run(dag_id, run_id) ON DELETE CASCADE;

ALTER TABLE ONLY task_instance
    ADD CONSTRAINT task_instance_dag_version_id_fkey FOREIGN KEY (dag_version_id) REFERENCES dag_version(id) ON DELETE RESTRICT;

ALTER TABLE ONLY dag_run
    ADD CONSTRAINT task_instance_log_template_id_fkey FOREIGN KEY (log_template_id) REFERENCES log_template(id);

ALTER TABLE ONLY task_instance
    ADD CONSTRAINT task_instance_trigger_id_fkey FOREIGN KEY (trigger_id) REFERENCES trigger(id) ON DELETE CASCADE;

ALTER TABLE ONLY task_state_store
    ADD CONSTRAINT task_state_store_dag_run_fkey FOREIGN KEY (dag_run_id) REFERENCES dag_run(id) ON DELETE CASCADE;

ALTER TABLE ONLY trigger
    ADD CONSTRAINT trigger_team_name_fkey FOREIGN KEY (team_name) REFERENCES team(name) ON DELETE SET NULL;

ALTER TABLE ONLY xcom_v1
    ADD CONSTRAINT xcom_task_instance_fkey FOREIGN KEY (dag_id, task_id, run_id, map_index) REFERENCES legacy_task_data_owner(dag_id, task_id, run_id, map_index) ON DELETE CASCADE;

ALTER TABLE ONLY xcom_v2
    ADD CONSTRAINT xcom_v2_ti_fkey FOREIGN KEY (task_instance_id) REFERENCES task_instance(id) ON DELETE CASCADE;;

INSERT INTO alembic_version (version_num) VALUES ('9cffe90fa0c0');
